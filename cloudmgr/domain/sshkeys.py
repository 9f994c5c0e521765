"""Public keys as `authorized_keys` has them, checked by shape; no cryptography library is needed for that (RFC 4253 §6.6)."""

import base64
import binascii
import hashlib
import struct

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
    if len(line) > _MAX_LENGTH or "\n" in line or "\r" in line or len(parts) < 2 or parts[0] not in ALLOWED:  # noqa: PLR2004
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
    if not fields or fields[0] != parts[0].encode() or len(fields) < 2:  # noqa: PLR2004
        raise InvalidInput(N_("This SSH public key is damaged; copy the whole line again."), field=field)
    if parts[0] == "ssh-rsa" and (len(fields) < 3 or int.from_bytes(fields[2]).bit_length() < _RSA_MIN_BITS):  # noqa: PLR2004
        raise InvalidInput(
            N_("RSA keys need at least {bits} bits; ssh-ed25519 is better."), field=field, bits=_RSA_MIN_BITS
        )
    return " ".join(parts)


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
