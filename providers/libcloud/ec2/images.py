"""Images: those the settings name, and those of named owners; one that brings more than a system disk is never used."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from cloudmgr.domain.architectures import Architecture
from providers.base import ImageObservation
from providers.libcloud.ec2.objects import architecture, is_id
from providers.libcloud.ec2.wire import Wire, items, text
from providers.libcloud.options import LibcloudOptions


@dataclass(frozen=True, slots=True)
class Template:
    """An image as EC2 describes it, under our name for it."""

    ref: str
    name: str
    arch: Architecture | None
    root_device: str
    min_disk_gib: int
    digest: str | None

    def as_observed(self) -> ImageObservation:
        """Return it as a backend's."""
        return ImageObservation(self.ref, self.name, self.arch, self.min_disk_gib, self.digest)


def usable(wire: Wire, options: LibcloudOptions) -> Iterator[Template]:
    """Yield the images the settings name, then those of their owners."""
    named = {image.ref for image in options.images}
    for ref in named:
        if (found := one(wire, options, ref)) is not None:
            yield found
    if options.image_owners:
        owners = {f"Owner.{number}": owner for number, owner in enumerate(options.image_owners, 1)}
        for element in wire.find("DescribeImages", "imagesSet/item", None, owners):
            if text(element, "imageId") not in named:
                yield _template(element, options)


def one(wire: Wire, options: LibcloudOptions, ref: str) -> Template | None:
    """Return one image that may be used here; None where the settings neither name it nor its owner, or it is not there."""
    named = any(image.ref == ref for image in options.images)
    if not is_id(ref, "ami") or not (named or options.image_owners):
        return None
    owners = {} if named else {f"Owner.{number}": owner for number, owner in enumerate(options.image_owners, 1)}
    params = {"Filter.1.Name": "image-id", "Filter.1.Value.1": ref} | owners
    element = next(wire.find("DescribeImages", "imagesSet/item", None, params), None)
    return None if element is None else _template(element, options)


def _template(element: Element, options: LibcloudOptions) -> Template:
    ref = text(element, "imageId") or ""
    stated = next((image for image in options.images if image.ref == ref), None)
    root = text(element, "rootDeviceName") or ""
    disks = [one for one in items(element, "blockDeviceMapping/item") if text(one, "ebs/volumeSize")]
    size = next((int(text(one, "ebs/volumeSize") or 0) for one in disks if text(one, "deviceName") == root), 0)
    arch = architecture(text(element, "architecture"))
    is_plain = (
        text(element, "rootDeviceType") == "ebs" and len(disks) <= 1 and text(element, "imageState") == "available"
    )
    contradicts = stated is not None and stated.arch not in (None, arch)
    return Template(
        ref=ref,
        name=stated.name if stated else text(element, "name") or ref,
        arch=arch if is_plain and root and not contradicts else None,
        root_device=root,
        min_disk_gib=max(size, stated.min_disk_gib if stated else 1, 1),
        digest=stated.digest if stated else None,
    )
