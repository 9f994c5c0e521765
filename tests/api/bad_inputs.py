"""The table of bad inputs: who sends what where, and the status, code, field and words that answer it.

`{name}` in a path or a text value is an id of the prepared city. `zh` is part of the Chinese answer, in its detail or in the
message of a finding; `en` likewise in English.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.world import KEY, ZONE

R = "/api/v1/requests"
JSON = {"Content-Type": "application/json"}
ENTRY = {"name": "bad", "count": 1, "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
CREATE: dict[str, Any] = {
    "kind": "create",
    "project": "{project}",
    "purpose": "业务系统应用服务器",
    "network_zone": ZONE,
    "lease_end": "{next_year}",
    "owner": {"name": "王芳", "phone": "13800000000"},
    "ssh_keys": [KEY],
    "servers": [ENTRY],
}
RETIRE: dict[str, Any] = {"kind": "retire", "project": "{project}", "purpose": "下线", "servers": ["{server}"]}
_LEFT_OUT = object()


@dataclass(frozen=True)
class Bad:
    """One bad input and its answer."""

    name: str
    status: int
    code: str
    zh: str
    sent: dict[str, Any] = field(default_factory=dict)
    at: str | None = None
    """The field that `errors` must name."""
    method: str = "POST"
    path: str = R
    who: str | None = "requester"
    en: str = ""


def _whole(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (base | changes).items() if value is not _LEFT_OUT}


def body(name: str, status: int, code: str, zh: str, at: str | None = None, /, en: str = "", **changes: Any) -> Bad:
    """A create request with something wrong in it."""
    return Bad(name, status, code, zh, {"json": _whole(CREATE, changes)}, at, en=en)


def entry(name: str, status: int, code: str, zh: str, at: str | None = None, /, en: str = "", **changes: Any) -> Bad:
    """A create request with something wrong in its one line of servers; `at` is below `servers[0]`."""
    sent = {"json": CREATE | {"servers": [_whole(ENTRY, changes)]}}
    return Bad(name, status, code, zh, sent, f"servers[0].{at}" if at else None, en=en)


def invalid(name: str, zh: str, at: str | None, /, **changes: Any) -> Bad:
    return body(name, 422, "invalid", zh, at, **changes)


def bad_entry(name: str, zh: str, at: str | None, /, **changes: Any) -> Bad:
    return entry(name, 422, "invalid", zh, at, **changes)


def draft(name: str, zh: str, at: str | None, /, **fields: Any) -> Bad:
    sent = {"json": {"kind": "create", "project": "{project}", "draft": True} | fields}
    return Bad(name, 422, "invalid", zh, sent, at)


def raw(name: str, status: int, code: str, zh: str, content: bytes, headers: dict[str, str] = JSON) -> Bad:
    return Bad(name, status, code, zh, {"content": content, "headers": headers})


def retire(name: str, status: int, code: str, zh: str, at: str | None, /, **changes: Any) -> Bad:
    return Bad(name, status, code, zh, {"json": _whole(RETIRE, changes)}, at)


def act(name: str, status: int, code: str, zh: str, path: str, who: str, at: str | None = None, /, **sent: Any) -> Bad:
    """A deed on something that is there."""
    return Bad(name, status, code, zh, {"json": sent} if sent else {}, at, path=f"/api/v1{path}", who=who)


def get(
    name: str, status: int, code: str, zh: str, path: str, who: str = "requester", at: str | None = None, **sent: Any
) -> Bad:
    return Bad(name, status, code, zh, sent, at, method="GET", path=f"/api/v1{path}", who=who)


TRANSPORT: Iterable[Bad] = (
    Bad("no login", 401, "unauthenticated", "请先登录", {"json": CREATE}, who=None, en="Please log in."),
    Bad("a token nobody was given", 401, "unauthenticated", "登录", {"json": CREATE, "headers": {"Authorization": "Bearer x"}}, who=None),
    raw("not JSON", 415, "unsupported_media_type", "application/json", b"kind=create", {"Content-Type": "text/plain"}),
    raw("broken JSON", 422, "invalid", "JSON", b'{"kind":'),
    raw("an empty body", 422, "invalid", "更正", b""),
    raw("bytes that are not UTF-8", 400, "malformed", "无法", b'{"kind": "\xff"}'),
    raw("nested a hundred thousand deep", 400, "malformed", "无法", b"[" * 100_000),
    raw("over the limit of the body", 413, "body_too_large", "1048576", b" " * 1_048_577),
    raw("a list where an object belongs", 422, "invalid", "更正", b"[]"),
    raw("a number that is none", 422, "invalid", "更正", b'{"kind":"create","servers":[{"count":NaN}]}'),
    Bad("a method that is not taken", 405, "method_not_allowed", "PATCH", method="PATCH"),
    Bad("an address that is not", 404, "not_found", "没有", method="GET", path="/api/v1/orders"),
    get("an id that is none", 404, "not_found", "没有这个对象", "/requests/first"),
    get("an id nothing has", 404, "not_found", "没有这个对象", "/requests/{nothing}"),
    get("a NUL byte in the address", 400, "malformed", "地址", "/requests/%00"),
    get("a parameter that is not", 422, "invalid", "没有这个参数", "/requests?page=2", at="page"),
    get("no entries a page", 422, "invalid", "不得小于 1", "/requests?limit=0", at="limit"),
    get("too many entries a page", 422, "invalid", "不得大于 200", "/requests?limit=201", at="limit"),
    get("a cursor that is not ours", 422, "invalid", "翻页标记", "/requests?cursor=AAAA", at="cursor"),
    get("a phase that is not", 422, "invalid", "in_review", "/requests?phase=done", at="phase[0]"),
    Bad("an idempotency key too long", 422, "invalid", "200", {"json": CREATE, "headers": {"Idempotency-Key": "k" * 201}}, "Idempotency-Key"),
)  # fmt: skip

CREATES: Iterable[Bad] = (
    Bad("no kind", 422, "invalid", "必填", {"json": _whole(CREATE, {"kind": _LEFT_OUT, "servers": _LEFT_OUT})}, "servers"),
    invalid("a kind that is not", "create", "kind", kind="destroy"),
    invalid("a draft mark that is text", "true 或 false", "draft", draft="yes"),
    invalid("a field that is not", "没有这个字段", "colour", colour="red"),
    invalid("no project", "必填", "project", project=_LEFT_OUT),
    invalid("a project that is no id", "编号", "project", project="智慧社区"),
    invalid("a project as a number", "文本", "project", project=7),
    invalid("a project nobody has", "没有这个信息系统", "project", project="{nothing}"),
    invalid("a project of another district", "没有这个信息系统", "project", project="{other_project}"),
    body("a classified system", 422, "classification_refused", "涉密", project="{classified}", en="Classified systems"),
    body("a system of MLPS level 4", 422, "classification_refused", "四级", project="{level4}"),
    invalid("a closed system", "已停用", "project", project="{closed}"),
    invalid("no purpose", "必填", "purpose", purpose=_LEFT_OUT),
    invalid("an empty purpose", "至少 1 个字符", "purpose", purpose="  "),
    invalid("a purpose too long", "最多 2000 个字符", "purpose", purpose="长" * 2001),
    invalid("a purpose that is a number", "文本", "purpose", purpose=5),
    invalid("a purpose with a NUL", "控制字符", "purpose", purpose="a\0b"),
    invalid("an environment that is not", "prd", "env", env="prod"),
    invalid("a network zone that is not", "政务外网区", "network_zone", network_zone="涉密网"),
    invalid("a network zone out of use", "测试区", "network_zone", network_zone="测试区"),
    invalid("no network zone anywhere", "网络区域", "servers[0].network_zone", network_zone=None),
    invalid("no end of the lease", "到期日", "lease_end", lease_end=_LEFT_OUT),
    invalid("a lease that is over", "2020-01-01", "lease_end", lease_end="2020-01-01"),
    invalid("a lease that ends today", "{today}", "lease_end", lease_end="{today}"),
    invalid("a lease of more than three years", "最晚", "lease_end", lease_end="{four_years}"),
    invalid("a day that is not", "YYYY-MM-DD", "lease_end", lease_end="2027-02-30"),
    invalid("a day as a number", "文本", "lease_end", lease_end=20271122),
    invalid("long term without a reason", "理由", "lease_reason", lease_end=None, lease_long_term=True),
    invalid("long term with an end", "长期", "lease_end", lease_long_term=True, lease_reason="基础平台"),
    invalid("long term as text", "true", "lease_long_term", lease_long_term="true"),
    invalid("an owner without a phone", "必填", "owner.phone", owner={"name": "王芳"}),
    invalid("an owner with letters for a phone", "加号", "owner.phone", owner={"name": "王芳", "phone": "call me"}),
    invalid("nobody responsible", "责任人", "owner", owner=None, project="{ownerless}"),
    invalid("one key instead of a list", "列表", "ssh_keys", ssh_keys=KEY),
    invalid("a private key", "私钥", "ssh_keys[0]", ssh_keys=["-----BEGIN OPENSSH PRIVATE KEY-----"]),
    invalid("a damaged key", "不完整", "ssh_keys[1]", ssh_keys=[KEY, KEY[:60]]),
    invalid("a key with a NUL in its comment", "公钥", "ssh_keys[0]", ssh_keys=[KEY + "\0"]),
    invalid("a key of a kind out of use", "ssh-ed25519", "ssh_keys[0]", ssh_keys=["ssh-dss AAAAB3NzaC1kc3M="]),
    invalid("too many keys", "20", "ssh_keys", ssh_keys=[KEY] * 21),
    invalid("no servers", "至少 1", "servers", servers=[]),
    invalid("too many lines", "50", "servers", servers=[ENTRY] * 51),
    invalid("a line that is text", "对象", "servers[0]", servers=["app"]),
    invalid("one name twice", "bad01", "servers", servers=[ENTRY | {"count": 2}, ENTRY | {"name": "bad01"}]),
    body("a name that is taken", 409, "conflict", "standing", "servers", servers=[ENTRY | {"name": "standing"}]),
    bad_entry("no name", "必填", "name", name=_LEFT_OUT),
    bad_entry("a name with capitals", "小写字母", "name", name="App"),
    bad_entry("a name with an underscore", "小写字母", "name", name="my_app"),
    bad_entry("a name with a dot", "小写字母", "name", name="app.gov"),
    bad_entry("a name that ends in a hyphen", "小写字母", "name", name="app-"),
    bad_entry("a name that ends its line", "小写字母", "name", name="app\n"),
    bad_entry("a Chinese name", "小写字母", "name", name="应用"),
    bad_entry("a name too long", "小写字母", "name", name="a" * 64),
    bad_entry("a name too long with its number", "63", "name", name="a" * 62, count=2),
    bad_entry("none of it", "不得小于 1", "count", count=0),
    bad_entry("less than none", "不得小于 1", "count", count=-3),
    bad_entry("too many of it", "不得大于 200", "count", count=201),
    bad_entry("a count as text", "整数", "count", count="2"),
    bad_entry("a count that is true", "整数", "count", count=True),
    bad_entry("a count and a half", "整数", "count", count=1.5),
    bad_entry("a count beyond all numbers", "不得大于 200", "count", count=10**30),
    bad_entry("a flavor that is not", "8C32G", "flavor", flavor="9C99G"),
    bad_entry("a flavor too small for the image", "100", "flavor", image="needs-100"),
    bad_entry("an image that is not", "kylin-v10", "image", image="windows-11"),
    bad_entry("an architecture by another name", "aarch64", "arch", arch="arm64"),
    entry("an architecture no pool has", 422, "arch_mismatch", "loongarch64", "arch", arch="loongarch64", en="No pool has"),
    entry("an image without that architecture", 422, "arch_mismatch", "arm-only", "image", image="arm-only", arch="x86_64"),
    bad_entry("a disk of less than nothing", "不得小于 0", "data_disk_gib", data_disk_gib=-1),
    bad_entry("a disk without end", "不得大于 65536", "data_disk_gib", data_disk_gib=65537),
    bad_entry("a kind of purpose that is not", "app", "purpose_kind", purpose_kind="game"),
    bad_entry("a spread that is not", "host", "spread", spread="rack"),
    bad_entry("a cloud that is not", "kp", "backend", backend="aws"),
    bad_entry("a playbook that is not", "configure_server", "playbook", playbook="rm-rf"),
    bad_entry("variables that are a list", "对象", "variables", variables=[]),
    bad_entry("a variable that is not", "colour", "variables.colour", variables={"colour": "red"}),
    bad_entry("a variable out of bounds", "90", "variables.password_max_days", variables={"password_max_days": 365}),
    bad_entry("a variable of another type", "login_failures", "variables.login_failures", variables={"login_failures": "5"}),
    bad_entry("a variable with a NUL", "控制字符", "variables.banner_text", variables={"banner_text": "a\0b"}),
    bad_entry("a variable with half a character", "控制字符", "variables.banner_text", variables={"banner_text": "a\ud800"}),
    bad_entry("a field of a line that is not", "没有这个字段", "gpu", gpu=1),
    body("more servers than the quota", 409, "quota_exceeded", "智慧社区综合服务平台", en="Over quota", servers=[ENTRY | {"count": 21}]),
    body("more cores than the quota", 409, "quota_exceeded", "vCPU", servers=[ENTRY | {"flavor": "8C32G", "count": 8}]),
    body("a thousand servers", 409, "quota_exceeded", "配额不足", servers=[ENTRY | {"name": f"x{n}", "count": 200} for n in range(5)]),
)  # fmt: skip

DRAFTS: Iterable[Bad] = (
    Bad("a draft without a project", 422, "invalid", "必填", {"json": {"kind": "create", "draft": True}}, "project"),
    draft("a draft for another district", "没有这个信息系统", "project", project="{other_project}"),
    draft("a draft with a NUL", "控制字符", "purpose", purpose="\0"),
    draft("a draft with a NUL deep inside", "控制字符", None, servers=[{"variables": {"x": ["a\0"]}}]),
    draft("a draft with a NUL in a name", "控制字符", None, servers=[{"variables": {"x\0": 1}}]),
    draft("a draft with half a character", "控制字符", None, owner={"name": "\ud800"}),
    draft("a draft with too many lines", "200", "servers", servers=[{}] * 201),
    draft("a draft of an unknown kind", "create", "kind", kind="move"),
    Bad("a draft for a classified system", 422, "classification_refused", "涉密",
        {"json": {"kind": "create", "project": "{classified}", "draft": True}}),
    act("an incomplete draft submitted", 422, "invalid", "尚未填写完整", "/requests/{draft}/submit", "requester", "servers[0].flavor"),
)  # fmt: skip

RETIRES: Iterable[Bad] = (
    retire("no servers to retire", 422, "invalid", "至少 1", "servers", servers=[]),
    retire("a server that is no id", 422, "invalid", "编号", "servers[0]", servers=["standing"]),
    retire("a server nobody has", 422, "invalid", "没有这台", "servers[0]", servers=["{nothing}"]),
    retire("a server of another project", 422, "invalid", "没有这台", "servers[0]", project="{another}"),
    retire("one server twice", 422, "invalid", "两次", "servers", servers=["{server}", "{server}"]),
    retire("a server that is not built", 409, "conflict", "waiting", "servers[0]", servers=["{unbuilt}"]),
    retire("too many servers", 422, "invalid", "200", "servers", servers=["{server}"] * 201),
    retire("a retirement with an end of lease", 422, "invalid", "没有这个字段", "lease_end", lease_end="{next_year}"),
)  # fmt: skip

DEEDS: Iterable[Bad] = (
    Bad("a change under review", 409, "conflict", "审批中", {"json": CREATE}, method="PUT", path=R + "/{request}"),
    Bad("a draft made into another kind", 422, "invalid", "另建申请单", {"json": RETIRE}, "project", method="PUT", path=R + "/{draft}"),
    Bad("a change by somebody else", 403, "forbidden", "本人", {"json": CREATE}, method="PUT", path=R + "/{draft}", who="colleague"),
    act("submitting what is submitted", 409, "conflict", "审批中", "/requests/{request}/submit", "requester"),
    act("withdrawing a colleague's", 403, "forbidden", "本人", "/requests/{request}/withdraw", "colleague"),
    act("withdrawing a stranger's", 404, "not_found", "没有这个对象", "/requests/{request}/withdraw", "stranger"),
    act("retrying what has not failed", 409, "conflict", "失败", "/requests/{request}/retry", "requester"),
    act("approving one's own", 403, "own_request", "本人", "/requests/{own}/decisions", "both", decision="approve"),
    act("a decision that is not", 422, "invalid", "approve", "/requests/{request}/decisions", "admin", "decision", decision="maybe"),
    act("a decision with more", 422, "invalid", "没有这个字段", "/requests/{request}/decisions", "admin", "force", decision="approve", force=True),
    act("a rejection without a reason", 422, "invalid", "意见", "/requests/{request}/decisions", "admin", "comment", decision="reject"),
    act("a reason without end", 422, "invalid", "500", "/requests/{request}/decisions", "admin", "comment", decision="reject", comment="长" * 501),
    act("a decision out of turn", 403, "forbidden", "芙蓉区", "/requests/{request}/decisions", "bureau-admin", decision="approve"),
    act("a decision without the right", 403, "forbidden", "角色", "/requests/{request}/decisions", "colleague", decision="approve"),
    act("a decision from another district", 404, "not_found", "没有这个对象", "/requests/{request}/decisions", "stranger", decision="approve"),
    act("a decision on a draft", 409, "conflict", "草稿", "/requests/{draft}/decisions", "admin", decision="approve"),
    get("a delivery sheet before delivery", 409, "conflict", "交付", "/requests/{request}/handover"),
    get("events of a stranger's request", 404, "not_found", "没有这个对象", "/requests/{request}/events", "stranger"),
    get("events from before the first", 422, "invalid", "不得小于 0", "/requests/{request}/events", at="Last-Event-ID", headers={"Last-Event-ID": "-1"}),
    get("events from nowhere", 422, "invalid", "整数", "/requests/{request}/events", at="Last-Event-ID", headers={"Last-Event-ID": "x"}),
    act("a power action that is not", 422, "invalid", "start", "/servers/{server}/actions", "admin", "action", action="explode"),
    act("a switch without the right", 403, "forbidden", "角色", "/servers/{server}/actions", "requester", action="stop"),
    act("a switch of a stranger's", 404, "not_found", "没有这个对象", "/servers/{server}/actions", "stranger", action="stop"),
    act("a switch of what is not built", 409, "conflict", "waiting", "/servers/{unbuilt}/actions", "admin", action="stop"),
    act("a switch the cloud has not", 409, "unsupported", "x86", "/servers/{powerless}/actions", "admin", action="stop"),
    get("an architecture that is not", 422, "invalid", "aarch64", "/servers?arch=arm64", at="arch"),
    act("a run of nothing", 422, "invalid", "至少 1", "/playbook-runs", "admin", "servers", playbook="collect_facts", servers=[]),
    act("a run of an unknown playbook", 422, "invalid", "collect_facts", "/playbook-runs", "admin", "playbook", playbook="x", servers=["{server}"]),
    act("a run on what is not built", 409, "conflict", "waiting", "/playbook-runs", "admin", "servers[0]", playbook="collect_facts", servers=["{unbuilt}"]),
    act("a run without the right", 403, "forbidden", "角色", "/playbook-runs", "requester", playbook="collect_facts", servers=["{server}"]),
    act("a run with a variable that is not", 422, "invalid", "shell", "/playbook-runs", "admin", "variables.shell",
        playbook="collect_facts", servers=["{server}"], variables={"shell": "rm"}),
    act("a cancel of a run that is not", 404, "not_found", "没有这个对象", "/playbook-runs/{nothing}/cancel", "admin"),
)  # fmt: skip
