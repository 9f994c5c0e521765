"""What may be changed of a server that stands, and how far a change is: closed sets and nothing else."""

from enum import StrEnum


class ChangeKind(StrEnum):
    """What is changed; the words are those of the kinds of request."""

    RESIZE = "resize"
    RENEW = "renew"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


class ChangeState(StrEnum):
    """How far a change is. What is asked for or under way is open: a server has one open change by request at a time."""

    ASKED = "asked"
    DOING = "doing"
    DONE = "done"
    FAILED = "failed"


OPEN_CHANGES = (ChangeState.ASKED, ChangeState.DOING)


class FrozenBy(StrEnum):
    """Why a server is frozen: somebody asked for it, or its lease has ended."""

    REQUEST = "request"
    LEASE = "lease"
