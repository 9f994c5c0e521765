"""Base images: which there are, and whether each still is what it was (its digest), checked before every use.

A digest that was asked for and cannot be computed refuses the image: the check fails closed.
"""

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.base import ImageObservation, ServerSpec
from providers.errors import InvalidSpec
from providers.libvirt.connection import Session
from providers.libvirt.options import Image, LibvirtOptions
from providers.libvirt.storage import abort
from providers.libvirt.tree import parse

_NO_VOLUME = {libvirt.VIR_ERR_NO_STORAGE_VOL}
_CHUNK_BYTES = 1024 * 1024


class Images:
    """The images of one backend; remembers digests by the file's size and time of change, in `state_dir`."""

    def __init__(self, options: LibvirtOptions, state_dir: Path) -> None:
        self._options = options
        self._by_ref = {image.ref: image for image in options.images}
        self._memory = state_dir / "image-digests.json"
        self._guard = threading.Lock()

    def observe(self) -> list[ImageObservation]:
        """Return every configured image."""
        return [
            ImageObservation(
                ref=image.ref,
                name=image.name,
                arch=image.arch,
                min_disk_gib=image.min_disk_gib,
                digest=f"sha256:{image.digest}" if image.digest else None,
            )
            for image in self._options.images
        ]

    def choose(self, spec: ServerSpec) -> Image:
        """Return the image of a spec, without calling the host (P13).

        Raises:
            InvalidSpec: no such image, another architecture, a disk too small, or two digests that differ.
        """
        image = self._by_ref.get(spec.image)
        if image is None:
            raise InvalidSpec(N_("There is no image {image} on this backend."), image=spec.image)
        if image.arch is not spec.arch:
            raise InvalidSpec(
                N_("Image {image} is for {image_arch}; the server is to be {arch}."),
                image=spec.image,
                image_arch=image.arch,
                arch=spec.arch,
            )
        if spec.system_disk_gib < image.min_disk_gib:
            raise InvalidSpec(
                N_("Image {image} needs a system disk of at least {needed} GiB; {asked} GiB was asked for."),
                image=spec.image,
                needed=image.min_disk_gib,
                asked=spec.system_disk_gib,
            )
        return image

    def verify(self, session: Session, image: Image, asked: str | None) -> None:
        """Check the file against the configured and the asked digest; without either there is nothing to check.

        Raises:
            InvalidSpec: it differs, or cannot be read.
        """
        wanted = {digest.lower().removeprefix("sha256:") for digest in (image.digest, asked) if digest}
        if not wanted:
            return
        actual = self._digest(session, image)
        if wanted != {actual}:
            raise InvalidSpec(
                N_("Image {image} is not what it was when it was approved; it is not used."),
                detail=f"{image.path}: sha256 {actual or 'unreadable'}, wanted {', '.join(sorted(wanted))}",
                image=image.ref,
            )

    def _digest(self, session: Session, image: Image) -> str | None:
        if self._options.remote_host is None and os.access(image.path, os.R_OK):
            state = Path(image.path).stat()
            key = f"{image.path} {state.st_ino} {state.st_size} {state.st_mtime_ns}"
            return self._remembered(key) or self._remember(key, _hash_file(Path(image.path)))
        # Pools do not notice a file that changed: refresh the one it is in before believing its times.
        volume = session.attempt(session.conn.storageVolLookupByPath, image.path, absent=_NO_VOLUME)
        if volume is None:
            return None
        session.call(session.call(volume.storagePoolLookupByVolume).refresh, 0)
        volume = session.attempt(session.conn.storageVolLookupByPath, image.path, absent=_NO_VOLUME)
        if volume is None:
            return None
        target = parse(session.call(volume.XMLDesc, 0)).find("target")
        mtime = target.findtext("timestamps/mtime", "") if target is not None else ""
        size_bytes = _file_size(session, volume)
        key = f"{self._options.uri} {image.path} {size_bytes} {mtime}"
        known = self._remembered(key) if mtime else None
        return known or self._remember(key, _hash_volume(session, volume))

    def _remembered(self, key: str) -> str | None:
        with self._guard:
            return self._load().get(key)

    def _remember(self, key: str, digest: str) -> str:
        with self._guard:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._memory.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps({**self._load(), key: digest}))
            fresh.replace(self._memory)
        return digest

    def _load(self) -> dict[str, str]:
        try:
            loaded: dict[str, str] = json.loads(self._memory.read_text())
        except (OSError, ValueError):
            return {}  # it only saves time; a lost or torn file costs a reading
        return loaded


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_size(session: Session, volume: Any) -> int:
    return int(session.call(volume.infoFlags, libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])


def _hash_volume(session: Session, volume: Any) -> str:
    digest = hashlib.sha256()
    stream = session.call(session.conn.newStream, 0)
    session.call(volume.download, stream, 0, 0, 0)
    try:
        while chunk := session.call(stream.recv, _CHUNK_BYTES):
            digest.update(chunk)
        session.call(stream.finish)
    except BaseException:
        abort(stream)
        raise
    return digest.hexdigest()
