"""Names of servers: DNS labels, numbered when several are asked for at once, and a convention that only warns."""

import re

from cloudmgr.domain.messages import N_, Message

_CONVENTION = re.compile(r"^\d{6}-[a-z0-9]+-[a-z0-9]+-(prd|tst|dev|dr)-(app|db|mid|web|fs|other)\d{0,4}$")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DIGITS = 2
MAX_LABEL = 63


def is_label(name: str) -> bool:
    """Tell whether it can be a server's name: a DNS label in lower case (RFC 1123)."""
    return _LABEL.fullmatch(name) is not None


def numbered(name: str, count: int) -> list[str]:
    """Return the names of `count` servers: the name itself for one, else with two (or more) digits appended."""
    if count == 1:
        return [name]
    width = max(_DIGITS, len(str(count)))
    return [f"{name}{index:0{width}d}" for index in range(1, count + 1)]


def convention_warning(name: str) -> Message | None:
    """Return a hint when a name does not follow {division}-{unit}-{system}-{env}-{role}{nn}; it is never a refusal."""
    if _CONVENTION.match(name):
        return None
    return Message(
        N_("{name} does not follow the naming convention (430102-mzj-zhsq-prd-app01); it will be used as it is."),
        {"name": name},
    )
