"""The frame around every page: product, reader, menu, language, notice."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from fastapi import Request

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.messages import N_
from cloudmgr.settings import Settings, Web
from web.formats import moment
from web.labels import VOCABULARIES
from web.rendering import HTML_LANGUAGES, Words

_PRODUCT = N_("Unified Cloud Manager")

_MENU: Sequence[tuple[str, Sequence[tuple[str, str, str, tuple[Action, ...]]]]] = (
    (
        "",
        (
            ("/", "home", N_("Home"), ()),
            ("/requests/new", "plus", N_("New request"), (Action.REQUEST_MAKE,)),
            ("/requests", "list", N_("Requests"), (Action.REQUEST_READ,)),
            ("/approvals", "stamp", N_("Approvals"), (Action.REQUEST_DECIDE, Action.QUOTA_WRITE)),
            ("/approval-policy", "table", N_("Approval policy"), (Action.CATALOGUE_READ,)),
            ("/notices", "inbox", N_("Notices"), ()),
        ),
    ),
    (
        N_("Resources"),
        (
            ("/servers", "server", N_("Servers"), (Action.SERVER_READ,)),
            ("/volumes", "layers", N_("Volumes"), (Action.SERVER_READ,)),
            ("/quotas", "gauge", N_("Quotas"), (Action.QUOTA_READ,)),
            ("/catalogue/zones", "layers", N_("Pools and catalogue"), (Action.CATALOGUE_READ,)),
            ("/inventory", "table", N_("Inventory export"), (Action.INVENTORY_EXPORT,)),
            ("/imports", "plus", N_("Imports"), (Action.INVENTORY_IMPORT,)),
            ("/certificates", "shield", N_("Deletion certificates"), (Action.SERVER_READ,)),
        ),
    ),
    (
        N_("Clouds"),
        (
            ("/backends", "cloud", N_("Cloud platforms"), (Action.CAPACITY_READ, Action.FINDING_READ)),
            ("/zones", "gauge", N_("Capacity"), (Action.CAPACITY_READ,)),
            ("/networks", "layers", N_("Networks and addresses"), (Action.SERVER_READ, Action.CATALOGUE_WRITE)),
            ("/openings", "shield", N_("Port openings"), (Action.SERVER_READ,)),
            ("/public-ips", "cloud", N_("Public addresses"), (Action.SERVER_READ,)),
            ("/findings", "alert", N_("Findings"), (Action.FINDING_READ,)),
        ),
    ),
    (
        N_("Administration"),
        (
            ("/projects", "building", N_("Information systems"), (Action.ORGANIZATION_READ,)),
            ("/change-freezes", "stop", N_("Change freezes"), (Action.REQUEST_READ, Action.FREEZE_WRITE)),
            ("/users", "people", N_("Users"), (Action.USER_READ,)),
            ("/audit", "shield", N_("Audit log"), (Action.AUDIT_READ, Action.AUDIT_READ_OWN)),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class MenuItem:
    """One line of the menu."""

    address: str
    icon: str
    text: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Chrome:
    """Everything the frame shows. Empty `display_name`: nobody is signed in."""

    product: str
    language: str
    html_language: str
    path: str
    here: str
    csrf_token: str
    display_name: str
    role_words: str
    nav: list[tuple[str, list[MenuItem]]]
    notice: str
    unread: int = 0
    """Notices the reader has not read."""
    paused: str = ""
    """Since when work is paused after a restore, in words; empty: it is not."""
    freezes: Sequence[str] = ()
    """What everybody concerned must know now, in words: change freezes, an approval policy that has expired."""


def chrome_of(
    request: Request,
    settings: Settings,
    words: Words,
    language: str,
    actor: Actor | None,
    csrf_token: str,
    paused_since: datetime | None = None,
    unread: int = 0,
    freezes: Sequence[str] = (),
) -> Chrome:
    """Build the frame of a page for its reader."""
    path = request.url.path
    here = path + (f"?{request.url.query}" if request.url.query else "") if request.method == "GET" else "/"
    done = VOCABULARIES["notice"].get(request.query_params.get("done", ""), "")
    return Chrome(
        product=words.translate(_PRODUCT) if settings.web.title == Web().title else settings.web.title,
        language=language,
        html_language=HTML_LANGUAGES[language],
        path=path,
        here=here,
        csrf_token=csrf_token,
        display_name=actor.display_name if actor else "",
        role_words=" · ".join(words.label("role", role) for role in actor.roles) if actor else "",
        nav=_nav(words, actor, path) if actor else [],
        notice=words.translate(done) if done else "",
        unread=unread,
        paused=_paused(words, paused_since) if paused_since else "",
        freezes=freezes,
    )


def _paused(words: Words, since: datetime) -> str:
    return words.translate(
        N_(
            "Restored from a backup: work is paused since {at}. Requests are taken, but nothing is built or retired until an "
            "administrator has reconciled and resumed."
        ),
        at=moment(since),
    )


def _nav(words: Words, actor: Actor, path: str) -> list[tuple[str, list[MenuItem]]]:
    current = _current(path)
    groups = []
    for title, items in _MENU:
        shown = [
            MenuItem(address, icon, words.translate(text), address == current)
            for address, icon, text, actions in items
            if not actions or any(actor.may(action) for action in actions)
        ]
        if shown:
            groups.append((words.translate(title) if title else "", shown))
    return groups


def _current(path: str) -> str:
    addresses = [address for _, items in _MENU for address, *_ in items]
    if path.startswith("/catalogue/"):
        return "/catalogue/zones"
    fitting = [
        address for address in addresses if path == address or (address != "/" and path.startswith(address + "/"))
    ]
    return max(fitting, key=len, default="")


def safe_next(address: str | None) -> str:
    """Return where to go after signing in: an address of ours, never another site's."""
    if not address or not address.startswith("/") or address.startswith(("//", "/\\")) or "\\" in address:
        return "/"
    parts = urlsplit(address)
    return "/" if parts.scheme or parts.netloc or parts.path in ("/login", "/logout", "/language") else address
