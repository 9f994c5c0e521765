"""Hashing of passwords, digests of tokens, and sealing of secrets at rest. Knows no database and logs nothing.

Passwords: argon2id (RFC 9106) with the OWASP minimum of 19 MiB and two passes, so that a burst of logins fits a small
machine. Tokens: 256 random bits, of which only the SHA-256 is kept. Sealing: AES-256-GCM under a key file.
"""

import base64
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_MEMORY_KIB, _PASSES, _LANES, _AT_ONCE = 19 * 1024, 2, 1, 4
_hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=_LANES)
_gate = threading.BoundedSemaphore(_AT_ONCE)
"""Bounds the memory of simultaneous logins; decides nothing."""

_KEY_FILE_HEAD = "cloudmgr-key-1"
_KEY_BYTES, _NONCE_BYTES = 32, 12


class SealBroken(Exception):  # noqa: N818 - says what happened
    """A sealed secret cannot be opened: another key, another place, or altered bytes. The message names no secret."""


class KeyFileRefused(Exception):  # noqa: N818 - says what happened
    """The key file is missing, malformed, or may be read by others."""


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password, parameters and salt included. Takes some 20 ms on purpose."""
    with _gate:
        return _hasher.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether `password` matches the stored hash. None stands for an unknown user and takes the same time."""
    with _gate:
        try:
            return _hasher.verify(stored if stored is not None else _unmatchable(), password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


_dummy: list[str] = []


def _unmatchable() -> str:
    if not _dummy:
        _dummy.append(_hasher.hash(secrets.token_urlsafe(32)))
    return _dummy[0]


def new_token() -> str:
    """Return a fresh bearer secret of 256 bits, URL-safe."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the SHA-256 of a token in hex: what the database keeps. A random token needs no salt and no stretching."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Sealer:
    """Seals with the newest key, opens with any of the file's. `about` binds a secret to its place, e.g. a row's id."""

    keys: Mapping[str, bytes]
    key_id: str

    def seal(self, plain: bytes, *, about: str) -> str:
        """Return `key_id.base64(nonce + ciphertext)`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.keys[self.key_id]).encrypt(nonce, plain, about.encode())
        return f"{self.key_id}.{base64.b64encode(nonce + sealed).decode()}"

    def unseal(self, sealed: str, *, about: str) -> bytes:
        """Return what was sealed for the same `about`.

        Raises:
            SealBroken: the key is not in the file, or the bytes or their place were altered.
        """
        key_id, _, text = sealed.partition(".")
        key = self.keys.get(key_id)
        if key is None:
            raise SealBroken(f"no key {key_id[:16]!r} in the key file")
        try:
            raw = base64.b64decode(text, validate=True)
            return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"a secret sealed with key {key_id} does not open for {about!r}") from error


def make_key_file(path: Path) -> str:
    """Write a fresh key, readable by the owner only; return its id. An existing file is left as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    key = os.urandom(_KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return load_key_file(path).key_id
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{_KEY_FILE_HEAD} {_key_id(key)} {base64.b64encode(key).decode()}\n")
        file.flush()
        os.fsync(file.fileno())
    return _key_id(key)


def load_key_file(path: Path) -> Sealer:
    """Read the key file: one key a line, the first seals, all open.

    Raises:
        KeyFileRefused: missing, malformed, or readable by others than its owner.
    """
    try:
        mode = path.stat().st_mode
        lines = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileRefused(
            f"cannot read the key file {path}: {error.__class__.__name__}; `cloudmgr init` makes one"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileRefused(f"the key file {path} may be read by others: chmod 600 {path}")
    keys: dict[str, bytes] = {}
    for words in lines:
        try:
            head, key_id, text = words
            key = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise KeyFileRefused(f"the key file {path} is malformed") from error
        if head != _KEY_FILE_HEAD or len(key) != _KEY_BYTES or key_id != _key_id(key):
            raise KeyFileRefused(f"the key file {path} is malformed or damaged at key {key_id[:16]!r}")
        keys[key_id] = key
    if not keys:
        raise KeyFileRefused(f"the key file {path} is empty")
    return Sealer(keys, next(iter(keys)))


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"cloudmgr key id" + key).hexdigest()[:16]
