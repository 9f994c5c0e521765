"""The empty sheet for requests, with the catalogue's own names as choices."""

from typing import Literal

from sqlmodel import Session

from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.i18n import translator
from cloudmgr.services import request_sheet
from cloudmgr.services.request_sheet import COLUMNS
from cloudmgr.store import lookups

_MOST_LIST = 250
"""Characters that a spreadsheet takes as a list of choices."""


def template(session: Session, actor: Actor, form: Literal["xlsx", "csv"], *, language: str) -> bytes:
    """Return an empty sheet in a language; a workbook has notes on its headers and lists of choices."""
    require(actor, Action.REQUEST_MAKE)
    names = lookups.Names(session)
    known = {
        "flavor": names.flavors(),
        "image": names.images(),
        "network_zone": names.network_zones(),
        "arch": ", ".join(sorted(names.zone_archs())),
    }
    choices = {
        key: text.split(", ") for key, text in known.items() if text and len(text) <= _MOST_LIST and '"' not in text
    }
    translate = translator(language)
    return request_sheet.template(
        form,
        language=language,
        choices=choices,
        notes=[translate(column.note) if column.note else "" for column in COLUMNS],
    )
