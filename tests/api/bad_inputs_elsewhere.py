"""The table of bad inputs, its other half: quotas, people, organizations, projects, the catalogue, exports, sessions."""

from collections.abc import Iterable
from typing import Any

from tests.api.bad_inputs import Bad, act, get


def put(
    name: str, status: int, code: str, zh: str, who: str, at: str | None = None, method: str = "PUT", /, **sent: Any
) -> Bad:
    """Limits of the project (`account` says otherwise)."""
    account = sent.pop("account", "{account}")
    return Bad(name, status, code, zh, {"json": sent}, at, method=method, path=f"/api/v1/quotas/{account}", who=who)


QUOTAS: Iterable[Bad] = (
    put("limits left out of a replacement", 422, "limit_omitted", "vCPU", "quota", "limits", limits={"servers": 5}, reason="测试"),
    put("a limit below nothing", 422, "invalid", "-1", "quota", "limits.servers", "PATCH", limits={"servers": -1}, reason="测试"),
    put("a limit beyond all numbers", 422, "invalid", "", "quota", "limits.servers", "PATCH", limits={"servers": 10**20}, reason="测试"),
    put("a limit as text", 422, "invalid", "整数", "quota", "limits.servers", "PATCH", limits={"servers": "5"}, reason="测试"),
    put("a key that is malformed", 422, "invalid", "vcpus", "quota", "limits.vcpus{arch", "PATCH", limits={"vcpus{arch": 5}, reason="测试"),
    put("a dimension that is not", 422, "invalid", "colour", "quota", "limits.vcpus{colour=red}", "PATCH", limits={"vcpus{colour=red}": 5}, reason="测试"),
    put("no reason", 422, "invalid", "必填", "quota", "reason", "PATCH", limits={"servers": 5}),
    put("no limits", 422, "invalid", "至少 1", "quota", "limits", "PATCH", limits={}, reason="测试"),
    put("no limit at the root", 422, "root_limit_required", "云主机", "quota", "limits", "PATCH",
        account="{root_account}", limits={"servers": None}, reason="测试"),
    put("limits without the right", 403, "forbidden", "角色", "requester", None, "PATCH", limits={"servers": 5}, reason="测试"),
    put("one's own district's limits", 403, "forbidden", "芙蓉区", "admin", None, "PATCH",
        account="{furong_account}", limits={"servers": 500}, reason="测试"),
    put("another district's limits", 404, "not_found", "没有这个对象", "stranger", None, "PATCH", limits={"servers": 5}, reason="测试"),
    put("limits of an account that is not", 404, "not_found", "没有这个对象", "quota", None, "PATCH",
        account="{nothing}", limits={"servers": 5}, reason="测试"),
    get("a tree of less than no depth", 422, "invalid", "不得小于 0", "/quotas?depth=-1", at="depth"),
    get("a tree from nowhere", 404, "not_found", "没有这个对象", "/quotas?root={nothing}"),
)  # fmt: skip

USER = {"username": "new-user", "display_name": "新人", "organization": "{minzheng}"}
PEOPLE: Iterable[Bad] = (
    act("a login with blanks", 422, "invalid", "以字母开头", "/users", "sysadmin", "username", **USER | {"username": "new user"}),
    act("a login that is taken, in capitals", 409, "conflict", "", "/users", "sysadmin", **USER | {"username": "ADMIN"}),
    act("a person of no organization", 404, "not_found", "单位", "/users", "sysadmin", "organization", **USER | {"organization": "{nothing}"}),
    act("a person with a password", 422, "invalid", "没有这个字段", "/users", "sysadmin", "password", **USER | {"password": "x"}),
    act("a person made without the right", 403, "forbidden", "角色", "/users", "secadmin", **USER),
    act("a role that is not", 422, "invalid", "requester", "/users/{requester}/roles", "secadmin", "role", role="king", organization="{minzheng}"),
    act("a second of the three administrators", 409, "exclusive_role", "", "/users/{sysadmin}/roles", "secadmin", role="audit_admin", organization="{root}"),
    act("a role for oneself", 403, "forbidden", "", "/users/{secadmin}/roles", "secadmin", role="requester", organization="{root}"),
    act("a role that ended yesterday", 422, "invalid", "", "/users/{requester}/roles", "secadmin", "valid_until",
        role="unit_reviewer", organization="{minzheng}", valid_until="2020-01-01T00:00:00Z"),
    act("a role until beyond all calendars", 422, "invalid", "2026-11-22", "/users/{requester}/roles", "secadmin", "valid_until",
        role="unit_reviewer", organization="{minzheng}", valid_until="9999-12-31T23:59:59-23:59"),
    act("a role granted without the right", 403, "forbidden", "角色", "/users/{requester}/roles", "sysadmin", role="requester", organization="{root}"),
    act("a login without a password", 422, "invalid", "必填", "/sessions", "requester", "password", username="requester"),
    act("a wrong password", 401, "bad_credentials", "", "/sessions", "requester", username="nobody", password="x"),
    Bad("a new password without the old", 422, "invalid", "必填", {"json": {"new_password": "Correct-Horse-9"}}, "old_password",
        method="PUT", path="/api/v1/users/me/password"),
)  # fmt: skip

PROJECT = {"organization": "{minzheng}", "name": "新系统", "mlps_level": "二级"}
FLAVOR = {"name": "4C8G", "vcpus": 4, "memory_mib": 8192}
IMAGE = {"name": "new-image", "title": "新", "os_name": "x", "os_version": "1"}
CATALOGUE: Iterable[Bad] = (
    act("a project with a level that is not", 422, "invalid", "三级", "/projects", "sysadmin", "mlps_level", **PROJECT | {"mlps_level": "3"}),
    act("a project of nobody", 422, "invalid", "单位", "/projects", "sysadmin", "organization", **PROJECT | {"organization": "{nothing}"}),
    act("a project's name that is taken", 409, "conflict", "另一项目", "/projects", "sysadmin", **PROJECT | {"name": "另一项目"}),
    act("a project without the right", 403, "forbidden", "角色", "/projects", "requester", **PROJECT),
    act("a project's key that is none", 422, "invalid", "公钥", "/projects/{project}/ssh-keys", "requester", "public_key", public_key="hello"),
    act("a key for a stranger's project", 404, "not_found", "没有这个对象", "/projects/{other_project}/ssh-keys", "requester", public_key="hello"),
    act("an organization's code with blanks", 422, "invalid", "以字母或数字开头", "/organizations", "sysadmin", "code", code="a b", name="新单位", parent="{root}"),
    act("an organization's code that is taken", 409, "conflict", "430102", "/organizations", "sysadmin", code="430102", name="新单位", parent="{root}"),
    act("an organization below nothing", 422, "invalid", "单位", "/organizations", "sysadmin", "parent", code="new", name="新单位", parent="{nothing}"),
    act("a wrong credit code", 422, "invalid", "统一社会信用代码", "/organizations", "sysadmin", "uscc",
        code="new", name="新单位", parent="{root}", uscc="91430100MA4L16JJ0Y"),
    act("a flavor without cores", 422, "invalid", "不得小于 1", "/flavors", "sysadmin", "vcpus", **FLAVOR | {"vcpus": 0}),
    act("a flavor's name that is taken", 409, "conflict", "2C4G", "/flavors", "sysadmin", **FLAVOR | {"name": "2C4G"}),
    act("a flavor without the right", 403, "forbidden", "角色", "/flavors", "admin", **FLAVOR),
    act("an image for a cloud that is not", 422, "invalid", "aws", "/images", "sysadmin", "variants[0].backend",
        **IMAGE, variants=[{"arch": "aarch64", "backend": "aws", "ref": "x"}]),
    act("an image for an architecture that is not", 422, "invalid", "z80", "/images", "sysadmin", "variants[0].arch",
        **IMAGE, variants=[{"arch": "z80", "backend": "kp", "ref": "x"}]),
    get("a format that is not", 422, "unsupported_format", "jsonl", "/inventory?format=pdf", at="format"),
    get("an inventory before all records", 422, "as_of_unavailable", "", "/inventory?as_of=2001-01-01T00:00:00Z"),
    get("phones without the right", 403, "forbidden", "", "/inventory?reveal=personal&reason=x"),
    act("a workbook", 422, "unsupported_format", "", "/exports", "requester", ledger="inventory", format="xlsx"),
    get("records from before all calendars", 422, "invalid", "2026-11-22", "/audit/events?from=0001-01-01T00:00:00%2B23:59", "auditor"),
    get("records of a login with a control character", 422, "invalid", "控制字符", "/audit/events?object=%C2%83", "auditor"),
    get("people by a control character", 422, "invalid", "控制字符", "/users?q=%07", "sysadmin"),
    get("an event that is not", 422, "invalid", "", "/audit/events?action=vm.fly", "auditor", at="action"),
)  # fmt: skip
