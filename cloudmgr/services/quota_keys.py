"""Whether a quota key can ever bind: one that nothing is counted under would be a limit on paper only."""

from collections.abc import Iterable
from difflib import get_close_matches

from sqlmodel import Session

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Environment, Tier
from cloudmgr.models import Backend, NetworkZone
from cloudmgr.store import catalogue
from quotas.keys import RESOURCES, Key, parse_key

_WORDS = {"environment": tuple(Environment), "tier": tuple(Tier)}


def require_countable(session: Session, keys: Iterable[str], *, within: str = "limits") -> None:
    """Refuse keys of a resource, or narrowed to something, that this installation does not have.

    `within` is the field of the input that holds them.

    Raises:
        InvalidInput: naming the key, and what is known instead; or it is malformed.
    """
    for text in keys:
        field = f"{within}.{text}"
        try:
            key = parse_key(text)
        except InvalidInput as refusal:
            refusal.field = field
            raise
        if key.resource not in RESOURCES:
            near = get_close_matches(key.resource, RESOURCES, n=3) or sorted(RESOURCES)
            raise InvalidInput(
                N_("Nothing is counted as {name}, so a limit would never bind; perhaps {known}?"),
                field=field,
                name=key.resource,
                known=", ".join(near),
            )
        _require_values(session, key, field)


def _require_values(session: Session, key: Key, field: str) -> None:
    dims = dict(key.dims)
    for name, words in _WORDS.items():
        if name in dims and dims[name] not in words:
            raise InvalidInput(
                N_("Dimension {name} cannot be {value}; use one of {known}."),
                field=field,
                name=name,
                value=dims[name],
                known=", ".join(words),
            )
    if "network_zone" in dims and catalogue.by_name(session, NetworkZone, dims["network_zone"]) is None:
        raise InvalidInput(N_("There is no network zone {name}."), field=field, name=dims["network_zone"])
    if "backend" in dims and catalogue.by_name(session, Backend, dims["backend"]) is None:
        raise InvalidInput(N_("There is no backend called {name}."), field=field, name=dims["backend"])
