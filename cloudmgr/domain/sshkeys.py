"""Public keys as `authorized_keys` has them, checked by shape; no cryptography library is needed for that (RFC 4253 §6.6)."""

import base64
import binascii
import hashlib
import struct
import unicodedata

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

ALLOWED = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
)
_RSA_MIN_BITS = 2048
_ED25519_BYTES = 32
_POINT_BYTES = {"nistp256": 65, "nistp384": 97, "nistp521": 133}
_MAX_LENGTH = 4096


def checked_public_key(text: str, *, field: str) -> str:
    """Return the key as one line `type base64 comment`, or refuse it.

    Raises:
        InvalidInput: a private key, several lines, an unknown or weak type, or broken base64.
    """
    line = text.strip()
    if "PRIVATE KEY" in line:
        raise InvalidInput(
            N_("This is a private key. Never send it to anybody; give the public key, which ends in .pub."), field=field
        )
    parts = line.split(None, 2)
    if len(line) > _MAX_LENGTH or not _is_one_line(line) or len(parts) < 2 or parts[0] not in ALLOWED:  # noqa: PLR2004
        raise InvalidInput(
            N_("This is not an SSH public key; it begins with one of {allowed}."),
            field=field,
            allowed=", ".join(ALLOWED),
        )
    try:
        blob = base64.b64decode(parts[1], validate=True)
        fields = _fields(blob)
    except (binascii.Error, ValueError, struct.error) as error:
        raise InvalidInput(N_("This SSH public key is damaged; copy the whole line again."), field=field) from error
    if not _is_shaped(parts[0], fields):
        raise InvalidInput(N_("This SSH public key is damaged; copy the whole line again."), field=field)
    if parts[0] == "ssh-rsa" and int.from_bytes(fields[2]).bit_length() < _RSA_MIN_BITS:
        raise InvalidInput(
            N_("RSA keys need at least {bits} bits; ssh-ed25519 is better."), field=field, bits=_RSA_MIN_BITS
        )
    return " ".join(parts)


def _is_one_line(line: str) -> bool:
    """Whether a line is free of control characters, which could end it or do things to a terminal that shows it."""
    return not any(unicodedata.category(character) in {"Cc", "Cs"} and character != "\t" for character in line)


def _is_shaped(kind: str, fields: list[bytes]) -> bool:
    """Whether a key has the parts its kind has: RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4, OpenSSH's PROTOCOL.u2f."""
    if not fields or fields[0] != kind.encode():
        return False
    if kind == "ssh-rsa":
        return len(fields) == 3  # noqa: PLR2004 - kind, exponent, modulus
    if kind.startswith("ecdsa-"):
        curve = kind.rpartition("-")[2]
        return [*fields[1:2], *map(len, fields[2:])] == [curve.encode(), _POINT_BYTES[curve]]
    key, *application = fields[1:] or [b""]
    return len(key) == _ED25519_BYTES and len(application) == int(kind.startswith("sk-"))


def _fields(blob: bytes) -> list[bytes]:
    fields, at = [], 0
    while at < len(blob):
        (length,) = struct.unpack_from(">I", blob, at)
        if at + 4 + length > len(blob):
            raise ValueError("field runs past the end")
        fields.append(blob[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


def fingerprint(public_key: str) -> str:
    """Return `SHA256:…` as ssh-keygen prints it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
