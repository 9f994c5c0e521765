"""The tables of docs/access.md, from the code: `python -m tests.guards.access_table` writes them anew."""

import re

from fastapi.routing import APIRoute

from cloudmgr.domain.access import EXCLUSIVE_ROLES, ROLE_ACTIONS, Action, Role
from cloudmgr.main import ROUTERS
from tests.guards.tree import ROOT

DOCUMENT = ROOT / "docs/access.md"
_BLOCK = re.compile(r"(<!-- (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def routes() -> list[tuple[str, str, str]]:
    """Every route as (method, path, access), in the order of the application."""
    found = []
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute), f"{route} carries no rule"
            access = str((route.openapi_extra or {})["x-access"])
            found += [(method, route.path, access) for method in sorted(route.methods)]
    return found


def _actions() -> str:
    head = "| action | " + " | ".join(f"`{role}`" for role in Role) + " |\n|---|" + "---|" * len(Role) + "\n"
    rows = [
        f"| `{action}` | " + " | ".join("✔" if action in ROLE_ACTIONS[role] else "–" for role in Role) + " |"
        for action in Action
    ]
    return head + "\n".join(rows) + "\n"


def _routes(*, console: bool) -> str:
    rows = [
        f"| {method} | `{path}` | `{access}` |"
        for method, path, access in routes()
        if path.startswith("/api/") is not console
    ]
    return "| method | path | access |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def tables() -> dict[str, str]:
    """Every generated block by its name."""
    return {
        "actions": _actions(),
        "exclusive": ", ".join(f"`{role}`" for role in sorted(EXCLUSIVE_ROLES)) + "\n",
        "api": _routes(console=False),
        "pages": _routes(console=True),
    }


def renewed(text: str) -> str:
    """Return the document with every block as the code has it."""
    made = tables()
    return _BLOCK.sub(lambda block: block[1] + made[block["name"]] + block[3], text)


if __name__ == "__main__":
    DOCUMENT.write_text(renewed(DOCUMENT.read_text()))
