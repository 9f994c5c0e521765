"""Lifecycles of requests and servers: which phase may follow which, as tables and nothing else."""

from collections.abc import Mapping
from enum import StrEnum

from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_, Message


class RequestKind(StrEnum):
    """What a request asks for. Numbers begin with the prefix of the kind."""

    CREATE = "create"
    RETIRE = "retire"
    RESIZE = "resize"
    RENEW = "renew"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    IMPORT = "import"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    PORTS = "ports"
    PUBLIC_IP = "public_ip"
    QUOTA_CHANGE = "quota_change"


NUMBER_PREFIXES: Mapping[str, str] = {
    "create": "SQ",
    "resize": "BG",
    "renew": "XQ",
    "retire": "ZX",
    "freeze": "DJ",
    "unfreeze": "DJ",
    "quota_change": "PE",
    "emergency": "YJ",
    "import": "DR",
    "volume": "BG",
    "snapshot": "BG",
    "ports": "BG",
    "public_ip": "BG",
}


class RequestPhase(StrEnum):
    """Our lifecycle of a request."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    FULFILLING = "fulfilling"
    FULFILLED = "fulfilled"
    PARTLY_FULFILLED = "partly_fulfilled"
    RETURNED = "returned"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


REQUEST_MOVES: Mapping[RequestPhase, frozenset[RequestPhase]] = {
    RequestPhase.DRAFT: frozenset({RequestPhase.SUBMITTED, RequestPhase.WITHDRAWN}),
    RequestPhase.SUBMITTED: frozenset({RequestPhase.IN_REVIEW, RequestPhase.WITHDRAWN}),
    RequestPhase.IN_REVIEW: frozenset(
        {RequestPhase.APPROVED, RequestPhase.RETURNED, RequestPhase.REJECTED, RequestPhase.WITHDRAWN}
    ),
    RequestPhase.APPROVED: frozenset({RequestPhase.FULFILLING}),
    RequestPhase.FULFILLING: frozenset({RequestPhase.FULFILLED, RequestPhase.PARTLY_FULFILLED, RequestPhase.FAILED}),
    RequestPhase.FULFILLED: frozenset(),
    RequestPhase.PARTLY_FULFILLED: frozenset({RequestPhase.FULFILLING}),
    RequestPhase.RETURNED: frozenset({RequestPhase.SUBMITTED, RequestPhase.WITHDRAWN}),
    RequestPhase.REJECTED: frozenset(),
    RequestPhase.WITHDRAWN: frozenset(),
    RequestPhase.FAILED: frozenset({RequestPhase.FULFILLING}),
}

EDITABLE_REQUESTS = frozenset({RequestPhase.DRAFT, RequestPhase.RETURNED})
HOLDING_REQUESTS = frozenset({RequestPhase.SUBMITTED, RequestPhase.IN_REVIEW, RequestPhase.APPROVED})
"""Phases in which nothing is being built yet but quota is held."""


class ServerPhase(StrEnum):
    """Our lifecycle of a server; what the backend says of it is its state."""

    REQUESTED = "requested"
    PLACED = "placed"
    CREATING = "creating"
    CONFIGURING = "configuring"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    RETIRING = "retiring"
    RETIRED = "retired"
    FAILED = "failed"


SERVER_MOVES: Mapping[ServerPhase, frozenset[ServerPhase]] = {
    ServerPhase.REQUESTED: frozenset({ServerPhase.PLACED, ServerPhase.FAILED}),
    ServerPhase.PLACED: frozenset(
        {ServerPhase.PLACED, ServerPhase.CREATING, ServerPhase.REQUESTED, ServerPhase.FAILED}
    ),
    ServerPhase.CREATING: frozenset(
        {ServerPhase.CONFIGURING, ServerPhase.PLACED, ServerPhase.REQUESTED, ServerPhase.FAILED}
    ),
    ServerPhase.CONFIGURING: frozenset({ServerPhase.ACTIVE, ServerPhase.FAILED}),
    ServerPhase.ACTIVE: frozenset({ServerPhase.SUSPENDED, ServerPhase.RETIRING}),
    ServerPhase.SUSPENDED: frozenset({ServerPhase.ACTIVE, ServerPhase.RETIRING}),
    ServerPhase.RETIRING: frozenset({ServerPhase.RETIRED}),
    ServerPhase.RETIRED: frozenset(),
    ServerPhase.FAILED: frozenset(
        {ServerPhase.REQUESTED, ServerPhase.CONFIGURING, ServerPhase.RETIRING, ServerPhase.RETIRED}
    ),
}

LIVE_SERVERS = frozenset(ServerPhase) - {ServerPhase.RETIRED}


def require_request_move(current: RequestPhase, wanted: RequestPhase) -> None:
    """Refuse a move that the table does not have.

    Raises:
        Conflict: the request is not in a phase that allows it.
    """
    if wanted not in REQUEST_MOVES[current]:
        raise Conflict(
            N_("The request is {current}; it cannot become {wanted}. Refresh the page to see what has happened."),
            current=_told(current),
            wanted=_told(wanted),
        )


def require_server_move(current: ServerPhase, wanted: ServerPhase) -> None:
    """Refuse a move that the table does not have.

    Raises:
        Conflict: the server is not in a phase that allows it.
    """
    if wanted not in SERVER_MOVES[current]:
        raise Conflict(
            N_("The server is {current}; it cannot become {wanted}."), current=_told(current), wanted=_told(wanted)
        )


def _told(phase: RequestPhase | ServerPhase) -> Message:
    from cloudmgr.domain.labels import REQUEST_PHASES, SERVER_PHASES, word  # noqa: PLC0415 - labels are of these phases

    return word(REQUEST_PHASES if isinstance(phase, RequestPhase) else SERVER_PHASES, phase.value)


class Decision(StrEnum):
    """What an approver may say."""

    APPROVE = "approve"
    REJECT = "reject"
    RETURN = "return"
    CHANGE = "change"
    """Approved as changed; counts once the requester has confirmed it."""


class Environment(StrEnum):
    """Environment of a server."""

    PRD = "prd"
    TST = "tst"
    DEV = "dev"
    DR = "dr"


class PurposeKind(StrEnum):
    """What a server does in its system."""

    APP = "app"
    DB = "db"
    MID = "mid"
    WEB = "web"
    FS = "fs"
    OTHER = "other"


class MlpsLevel(StrEnum):
    """等保级别; the words are the field's own codes."""

    LEVEL_1 = "一级"
    LEVEL_2 = "二级"
    LEVEL_3 = "三级"
    LEVEL_4 = "四级"
    LEVEL_5 = "五级"
    UNRATED = "未定级"


REFUSED_LEVELS = frozenset({MlpsLevel.LEVEL_4, MlpsLevel.LEVEL_5})


class Tier(StrEnum):
    """Whose cloud a backend is, in placement order."""

    CITY = "city"
    DISTRICT = "district"
    EDGE = "edge"
    PUBLIC = "public"


class Health(StrEnum):
    """How a backend was when last asked."""

    UNKNOWN = "unknown"
    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class Spread(StrEnum):
    """How servers of one request are kept apart."""

    HOST = "host"
    ZONE = "zone"
    NONE = "none"


class OrganizationKind(StrEnum):
    """Kinds of organizations, as the city's own tables have them."""

    CITY = "city"
    MUNICIPAL = "municipal"
    DISTRICT = "district"
    COUNTY = "county"
    COUNTY_LEVEL_CITY = "county-level city"
    NEW_AREA = "state-level new area"
    NATIONAL_ZONE = "national zone"
    PARK = "park"
    FTZ = "FTZ"
    ZONE = "zone"
    DEPARTMENT = "department"


DISTRICT_KINDS = frozenset(OrganizationKind) - {OrganizationKind.CITY, OrganizationKind.DEPARTMENT}
