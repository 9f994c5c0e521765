"""Use cases of images: one logical entry with a variant per architecture and backend ("twins")."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, architectures
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Image, ImageVariant
from cloudmgr.services import audit
from cloudmgr.services.backends import require_backend
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Code, Input, Name, Text, formed, unset
from cloudmgr.store import catalogue
from cloudmgr.store.unique import add_unique

ImageName = Annotated[
    str,
    formed(
        r"^[a-z0-9][a-z0-9._-]{0,63}$",
        N_(
            "Begin with a small letter or a digit and go on with small letters, digits, dots, underscores and hyphens, 64 in all at most."
        ),
    ),
]
Words = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
LoginUser = Annotated[
    str,
    formed(
        r"^[a-z_][a-z0-9_-]{0,31}$",
        N_(
            "Begin with a small letter or an underscore and go on with small letters, digits, underscores and hyphens, 32 in all at most."
        ),
    ),
]
PlaybookName = Annotated[
    str,
    formed(
        r"^[a-z][a-z0-9_]{0,63}$",
        N_("Begin with a small letter and go on with small letters, digits and underscores, 64 in all at most."),
    ),
]
MinDiskGib = Annotated[int, Field(ge=0, le=65536)]


class Variant(Input):
    """What the image is on one architecture at one backend: `ref` is the backend's own reference."""

    arch: Text
    backend: Code
    ref: Annotated[Text, StringConstraints(min_length=1, max_length=300)]
    digest: Annotated[Text, StringConstraints(max_length=128)] | None = None


Variants = Annotated[list[Variant], Field(max_length=500)]


class CreateImage(Input):
    """A new logical image."""

    name: ImageName
    title: Name
    os_name: Words
    os_version: Words
    os_is_xinchuang: bool = False
    login_user: LoginUser = "ops"
    min_disk_gib: MinDiskGib = 0
    hardening: Name | None = None
    playbook: PlaybookName = "configure_server"
    is_active: bool = True
    variants: Variants = Field(default_factory=list)


class UpdateImage(Input):
    """What may change of an image; `variants`, where given, is the whole new list."""

    title: Name = unset()
    os_name: Words = unset()
    os_version: Words = unset()
    os_is_xinchuang: bool = unset()
    login_user: LoginUser = unset()
    min_disk_gib: MinDiskGib = unset()
    hardening: Name | None = None
    playbook: PlaybookName = unset()
    is_active: bool = unset()
    variants: Variants = unset()


@dataclass(frozen=True, slots=True)
class VariantView:
    """A variant; `ref` is None for readers who do not run the platform."""

    arch: str
    backend: str
    ref: str | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image with its variants."""

    image: Image
    variants: list[VariantView]

    @property
    def architectures(self) -> list[str]:
        """Architectures the image exists for anywhere, sorted."""
        return sorted({variant.arch for variant in self.variants})


def list_images(
    session: Session, actor: Actor, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[ImageView], uuid.UUID | None]:
    """Return a page of the images; withdrawn ones only to those who keep the catalogue."""
    access.require(actor, Action.CATALOGUE_READ)
    active_only = not actor.may(Action.CATALOGUE_WRITE)
    rows, following = catalogue.listed(session, Image, active_only=active_only, limit=limit, after=cursor)
    return _views(session, actor, rows), following


def create_image(session: Session, actor: Actor, command: CreateImage) -> ImageView:
    """Add a logical image with its variants.

    Raises:
        Conflict: the name is taken.
        InvalidInput: an architecture or a backend is unknown, or a variant stands twice.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    image = Image(**command.model_dump(exclude={"variants"}))
    if not add_unique(session, image):
        raise Conflict(N_("There is an image called {name} already."), field="name", name=command.name)
    _set_variants(session, image, command.variants)
    _record(session, actor, image, after=command.model_dump(mode="json"))
    return _views(session, actor, [image])[0]


def update_image(session: Session, actor: Actor, image_id: uuid.UUID, command: UpdateImage) -> ImageView:
    """Change what was given of an image.

    Raises:
        NotFound: there is no such image.
        InvalidInput: an architecture or a backend is unknown, or a variant stands twice.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    image = catalogue.get(session, Image, image_id)
    if image is None:
        raise NotFound(N_("There is no such image."))
    wanted: dict[str, Any] = command.changes()
    given = wanted.pop("variants", None)
    changed = set_changed(session, image, wanted)
    before, after = dict(changed.before), dict(changed.after)
    if given is not None:
        was, now = _set_variants(session, image, command.variants)
        if was != now:
            before["variants"], after["variants"] = was, now
    if after:
        _record(session, actor, image, before=before, after=after)
    return _views(session, actor, [image])[0]


def _set_variants(session: Session, image: Image, wanted: list[Variant]) -> tuple[list[list[str]], list[list[str]]]:
    """Make the variants exactly these; return what they were and are, each as a sorted list of plain rows."""
    rows = {(v.arch, v.backend_id): (v, b) for v, b in catalogue.variants(session, [image.id])[image.id]}
    was = sorted([v.arch, b.name, v.ref, v.digest or ""] for v, b in rows.values())
    now: list[list[str]] = []
    kept: set[tuple[str, uuid.UUID]] = set()
    for index, variant in enumerate(wanted):
        backend = require_backend(session, variant.backend, field=f"variants[{index}].backend")
        key = (_architecture(variant.arch, f"variants[{index}].arch"), backend.id)
        if key in kept:
            raise InvalidInput(
                N_("{arch} at {backend} stands twice; an image has one variant of an architecture at a backend."),
                field=f"variants[{index}]",
                arch=key[0],
                backend=backend.name,
            )
        kept.add(key)
        now.append([key[0], backend.name, variant.ref, variant.digest or ""])
        if key in rows:
            set_changed(session, rows[key][0], {"ref": variant.ref, "digest": variant.digest})
        else:
            fields: dict[str, Any] = {
                "arch": key[0],
                "backend_id": backend.id,
                "ref": variant.ref,
                "digest": variant.digest,
            }
            add_unique(session, ImageVariant(image_id=image.id, **fields))
    for key in rows.keys() - kept:
        catalogue.remove(session, rows[key][0])
    return was, sorted(now)


def _architecture(name: str, field: str) -> str:
    try:
        return architectures.normalise(name).value
    except InvalidInput as unknown:
        unknown.field = field
        raise


def _views(session: Session, actor: Actor, rows: list[Image]) -> list[ImageView]:
    variants = catalogue.variants(session, [row.id for row in rows])
    may_see_refs = actor.may(Action.CAPACITY_READ)
    return [
        ImageView(
            row, [VariantView(v.arch, b.name, v.ref if may_see_refs else None, v.digest) for v, b in variants[row.id]]
        )
        for row in rows
    ]


def _record(session: Session, actor: Actor, image: Image, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.IMAGE_WRITE,
        object_type="image",
        object_id=image.id,
        object_name=image.name,
        **detail,
    )
