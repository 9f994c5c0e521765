"""The file a backup is: one gzipped tar of a manifest and the members it names with their digests. Knows no database.

Digests tell damage, not forgery: whoever can write the file can write its manifest. It holds the sealing key, so it is as
secret as the key itself and is made readable by its owner only.
"""

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_

FORMAT = 1
MANIFEST = "manifest.json"
_MANIFEST_LIMIT_BYTES = 1024 * 1024
_MEMBER = re.compile(
    r"database\.(?:sqlite3|dump)|secret\.key|cloudmgr\.toml|demo-accounts\.json|"
    r"backends/[A-Za-z0-9][A-Za-z0-9._-]{0,63}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)
"""All that is ever taken out of an archive."""
_CHUNK = 1024 * 1024


class BackupRefused(Conflict):
    """A backup cannot be made, or what is called one cannot be restored here."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `members` gives each file's SHA-256 and size in bytes."""

    release: str
    schema: str
    dialect: str
    created_at: str
    members: Mapping[str, Mapping[str, str | int]]
    server: str = ""
    """Version of the database server, for those who must find a client for it."""
    format: int = field(default=FORMAT)


def write(
    target: Path, folder: Path, *, release: str, schema: str, dialect: str, created_at: str, server: str
) -> Manifest:
    """Pack every file below `folder` into `target`: complete or not there at all, readable by its owner only.

    Raises:
        BackupRefused: `target` exists; a backup is never written over.
    """
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    members: dict[str, dict[str, str | int]] = {
        name: {"sha256": digest(path), "bytes": path.stat().st_size} for name, path in files.items()
    }
    manifest = Manifest(release, schema, dialect, created_at, members, server)
    if target.exists():
        raise _exists(target)
    partial = target.with_name(f".{target.name}.partial")
    try:
        with _private(partial) as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
                _add(archive, MANIFEST, folder, json.dumps(asdict(manifest), indent=2).encode())
                for name, path in files.items():
                    _add(archive, name, path)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(partial, target)  # unlike a rename it fails where somebody made the target meanwhile
        except FileExistsError as error:
            raise _exists(target) from error
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return manifest


def unpack(source: Path, folder: Path) -> Manifest:
    """Take everything out of a backup into an empty folder, each member checked against the manifest.

    Raises:
        BackupRefused: not a backup, of a later format, damaged, or holding what no backup holds.
    """
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            manifest = _manifest(archive, source)
            seen: set[str] = set()
            while (member := archive.next()) is not None:
                _take(archive, member, folder, manifest, source)
                seen.add(member.name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BackupRefused(
            N_("{file} cannot be read as a backup: {error}"), file=str(source), error=str(error) or type(error).__name__
        ) from error
    if missing := sorted(set(manifest.members) - seen):
        raise _damaged(source, missing[0])
    return manifest


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(archive: tarfile.TarFile, source: Path) -> Manifest:
    first = archive.next()
    body = archive.extractfile(first) if first is not None and first.name == MANIFEST and first.isreg() else None
    try:
        told = json.loads(body.read(_MANIFEST_LIMIT_BYTES)) if body is not None else None
        if isinstance(told, dict) and isinstance(told.get("format"), int) and told["format"] > FORMAT:
            raise BackupRefused(
                N_("{file} was made by release {release}, in a form that this release does not know."),
                file=str(source),
                release=str(told.get("release", "?")),
            )
        manifest = Manifest(**told) if isinstance(told, dict) else None
    except (ValueError, TypeError):
        manifest = None
    if manifest is None or not all(_MEMBER.fullmatch(name) for name in manifest.members):
        raise BackupRefused(N_("{file} is not a backup of cloudmgr."), file=str(source))
    return manifest


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, manifest: Manifest, source: Path) -> None:
    about = manifest.members.get(member.name)
    body = archive.extractfile(member) if member.isreg() else None
    if about is None or body is None or member.size != about["bytes"]:
        raise _damaged(source, member.name)
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    counted = hashlib.sha256()
    with _private(path) as file:
        while chunk := body.read(_CHUNK):
            counted.update(chunk)
            file.write(chunk)
    if counted.hexdigest() != about["sha256"]:
        raise _damaged(source, member.name)


def _add(archive: tarfile.TarFile, name: str, path: Path, body: bytes | None = None) -> None:
    """Add a file under a name of ours, without the machine's user names and times."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = 0o600, int(path.stat().st_mtime)
    if body is not None:
        entry.size = len(body)
        archive.addfile(entry, io.BytesIO(body))
        return
    entry.size = path.stat().st_size
    with path.open("rb") as file:
        archive.addfile(entry, file)


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exists(target: Path) -> BackupRefused:
    return BackupRefused(N_("{file} exists; a backup is never written over."), file=str(target))


def _damaged(source: Path, member: str) -> BackupRefused:
    return BackupRefused(
        N_("{file} is damaged at {member}; nothing was restored. Take another backup."), file=str(source), member=member
    )
