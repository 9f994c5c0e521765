"""What fulfilment asks of every kind of request: what is to be done, and how much of it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from cloudmgr.models import ResourceRequest


@dataclass(frozen=True, slots=True)
class Tally:
    """How many of the things a request asks for are done; `is_begun`: none is, and yet something stands.

    `waiting` are those that are taken up again by themselves; until they are done, the request is not.
    """

    good: int
    all: int
    is_begun: bool = False
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """How one kind of request is worked off.

    `items` returns what is left to do: the workflow's name, the key its id is made of (never the same twice) and its
    arguments. `tally` counts what came of it.
    """

    items: Callable[[Session, ResourceRequest], list[dict[str, Any]]]
    tally: Callable[[Session, ResourceRequest], Tally]


def item(workflow: str, key: str, *args: Any) -> dict[str, Any]:
    """Return one thing to do: `workflow(*args)`, under the id `workflow:key`."""
    return {"workflow": workflow, "key": key, "args": list(args)}
