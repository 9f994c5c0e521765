"""Quota amounts as they are typed: memory in GiB where the ledger's MiB are whole GiB."""

from cloudmgr.domain.units import MIB_PER_GIB
from web.forms import whole
from web.presenters.quota import PLAIN_ORDER
from web.rendering import Words


def factor(key: str, limit: int | None) -> int:
    """Return how many units of the ledger one unit of a form is; `limit` is the one that stands."""
    is_memory = key.partition("{")[0] == "memory_mib"
    return MIB_PER_GIB if is_memory and not (limit or 0) % MIB_PER_GIB else 1


def unit(key: str, of_one: int) -> str:
    """Return the unit to write behind the name of a key, empty where there is none."""
    resource = key.partition("{")[0]
    if resource == "memory_mib":
        return " (GiB)" if of_one > 1 else " (MiB)"
    return " (GiB)" if resource.endswith("_gib") else ""


def typed_amount(text: str, of_one: int) -> int | str | None:
    """Return what was typed in units of the ledger: None where nothing was, the text itself where it is no number."""
    if not text.strip():
        return None
    given = whole(text)
    return given * of_one if isinstance(given, int) else given


def in_gib(key: str, text: str) -> int | str:
    """Return what was typed beside a key that may be any: memory is always given in GiB."""
    given = typed_amount(text, MIB_PER_GIB if key.partition("{")[0] == "memory_mib" else 1)
    return "" if given is None else given


def key_choices(words: Words) -> list[tuple[str, str]]:
    """Return keys to choose from where any may be written, each with its words."""
    return [(key, words.key_label(key)) for key in _OFFERED]


_OFFERED = (
    *PLAIN_ORDER,
    "bandwidth_mbps",
    "gpus",
    "vcpus{arch=aarch64}",
    "vcpus{arch=x86_64}",
    "vcpus{is_xinchuang=true}",
    "memory_mib{arch=aarch64}",
    "memory_mib{arch=x86_64}",
)
