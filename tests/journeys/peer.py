"""What a journey needs of a real cloud: its section of the settings, and the hands of its operator.

The hands use the cloud's own API, never our driver: what they say is a second opinion on what our driver did.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

BACKEND = "lab"
IMAGE = "debian-12"


class Peer(ABC):
    """One real cloud, and everything an operator of it does by hand."""

    arch: ClassVar[str]
    flavor: ClassVar[str] = "2C4G"
    size: ClassVar[tuple[int, int]] = (2, 4096)
    """vCPUs and MiB of the flavor."""
    size_by_hand: ClassVar[tuple[int, int]] = (4, 8192)
    """What an operator gives a server past us."""
    size_refused: ClassVar[tuple[int, int]] = (3, 5120)
    """A size nobody has there: the cloud knows no such flavor, or its pool has no room for it."""
    pieces: ClassVar[frozenset[str]]
    """Kinds of things the cloud keeps for one server with a data disk, an address and opened ports."""
    opens_ports: ClassVar[bool] = True
    leads_public_addresses: ClassVar[bool] = True
    is_shared: ClassVar[bool] = False
    """Whether other tests make and remove servers there meanwhile, so that a list may lose many at once."""
    managed: ClassVar[str | None] = None
    """The subnet whose addresses we give out; None where the cloud does."""

    def section(self) -> dict[str, Any]:
        """Return its `[[backends]]` section."""
        return {
            "name": BACKEND,
            "tier": "city",
            "datacenter": "实验室",
            "rehearses": True,
            **self.options(),
        }

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return its provider, the provider's own keys, and the network zones of its networks."""

    @property
    @abstractmethod
    def image(self) -> str:
        """The reference of the image that the catalogue calls `IMAGE`."""

    @abstractmethod
    def everything(self) -> set[str]:
        """Return a name for each server, disk, card, address, snapshot and rule that stands there now."""

    @abstractmethod
    def make(self, name: str) -> str:
        """Make a running server by hand; return its reference."""

    @abstractmethod
    def stop(self, ref: str) -> None:
        """Switch a server off by hand."""

    @abstractmethod
    def resize(self, ref: str) -> None:
        """Give a stopped server the size by hand."""

    @abstractmethod
    def delete(self, ref: str) -> None:
        """Remove a server by hand, with all that belongs to it."""

    @abstractmethod
    def seen(self, ref: str) -> tuple[str, int, int] | None:
        """Return power (running or stopped), vCPUs and MiB of a server; None where there is none."""
