"""How our things are named at the cloud: metadata keys, names by token, and reading them back."""

import re
import uuid
from typing import Any

TOKEN = "cloudmgr_token"  # noqa: S105 - the name of a metadata key
ROLE = "cloudmgr_role"
ZONE = "cloudmgr_zone"
ZONE_ARCH = "cloudmgr_arch"
IMAGE = "cloudmgr_image"
GROUP = "cloudmgr_group"
SNAPSHOT = "cloudmgr_snapshot"
SNAPSHOT_OF = "cloudmgr_snapshot_of"
DATA_DISK = "data"

CLAIM = "cloudmgr:claim"
"""Owner of a port that no server uses yet; the cloud writes its own word there when one does."""
_HALF = "half-"
_NAME = re.compile(r"cloudmgr-([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:-|$)")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,100}")


def server_name(name: str, token: uuid.UUID) -> str:
    """Return a name that is found by the token: Nova lists by name, and never by metadata to a plain member."""
    return f"{name[:240]}-{suffix(token)}"


def suffix(token: uuid.UUID) -> str:
    """Return what the names of a token's servers end with."""
    return token.hex[-8:]


def thing_name(token: uuid.UUID, what: str = "") -> str:
    """Return the name of something made for a token: a port, a group, a volume, an image."""
    return f"cloudmgr-{token}" + (f"-{what}" if what else "")


def token_in_name(name: Any) -> uuid.UUID | None:
    """Return the token a name was made for."""
    found = _NAME.match(str(name or ""))
    return uuid.UUID(found[1]) if found else None


def token_of(metadata: Any) -> uuid.UUID | None:
    """Return the token in an object's metadata; None where there is none, or what somebody wrote there is none."""
    try:
        return uuid.UUID(str((metadata or {}).get(TOKEN)))
    except ValueError:
        return None


def half_ref(token: uuid.UUID) -> str:
    """Return the reference of a server that has no identity at the cloud yet, only things made for it."""
    return f"{_HALF}{token}"


def token_of_half(ref: str) -> uuid.UUID | None:
    """Return the token of a reference made by `half_ref`."""
    if not ref.startswith(_HALF):
        return None
    try:
        return uuid.UUID(ref.removeprefix(_HALF))
    except ValueError:
        return None


def is_ref(ref: str) -> bool:
    """Tell whether a reference can be part of an address: what cannot is nothing that the cloud ever named."""
    return _PLAIN.fullmatch(ref) is not None
