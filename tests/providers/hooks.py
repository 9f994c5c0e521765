"""What a driver's test class tells the contract suite: hooks, amounts and patience; and how the suite waits.

The suite calls as workflows do: a call refused with the remedy RETRY or RECONCILE is made again, a server is waited for by
looking. Drivers may not wait (P1); everything here may, for at most `wait_s`.
"""

import ipaddress
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest

from cloudmgr.domain.architectures import Architecture
from providers.base import (
    FixedAddress,
    PowerState,
    Provider,
    ResourceKind,
    ServerObservation,
    ServerSpec,
    VolumeSpec,
    VolumeState,
)
from providers.capabilities import Evidence, PowerControl, Resizing, Volumes
from providers.errors import NotFound, ProviderError, Remedy
from tests.providers.checks import assert_safe, claimed_by

T = TypeVar("T")
_TESTS_OF: dict[str, set[str]] = {}


def capability(name: str) -> Callable[[T], T]:
    """Mark a test as one of a capability: classes of drivers without it do not have the test."""

    def mark(test: T) -> T:
        _TESTS_OF.setdefault(name, set()).add(test.__name__)  # type: ignore[attr-defined]
        return test

    return mark


class ProviderHooks:
    # What a driver's test class sets

    driver: ClassVar[str | type[Provider]] = ""
    """The driver's name in the registry, or its class. Decides which tests of capabilities there are."""
    unable: ClassVar[frozenset[str]] = frozenset()
    """Capabilities its class has and this installation has not, as `Provider.unable` says."""
    arch: ClassVar[Architecture] = Architecture.AARCH64
    size: ClassVar[Mapping[str, int]] = {"vcpus": 1, "memory_mib": 512, "data_disk_gib": 1}
    """Of the servers that are built; with `system_disk_gib` where what the image needs will not do."""
    other_size: ClassVar[tuple[int, int]] = (2, 768)
    """vCPUs and MiB to resize to, and back again."""
    volume_gib: ClassVar[int] = 1
    gives_addresses: ClassVar[bool] = True
    """Whether a running server shows an address without having been told one."""
    shows_fixed_addresses: ClassVar[bool] = True
    """Whether a server that was told an address is seen to have it: False where no guest is there to take it."""
    unlabelled_image: ClassVar[bool] = False
    """Whether the installation has an image without an architecture, to show that it is never used."""
    at_once_s: ClassVar[float] = 10.0
    """How long any call may take (P1); not how long booting takes."""
    answer_limit_s: ClassVar[float] = 30.0
    """How long a call to a backend that does not answer may take (P10)."""
    wait_s: ClassVar[float] = 90.0
    poll_s: ClassVar[float] = 0.5
    secrets: ClassVar[tuple[str, ...]] = ()
    """Secret values in the options of `provider` and `unreachable` (P12)."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Leave out the tests of what the driver does not inherit; without its SDK all stay, and say what is missing."""
        super().__init_subclass__(**kwargs)
        claimed = claimed_by(cls.driver)
        for name, tests in _TESTS_OF.items():
            if claimed is not None and name not in claimed - cls.unable:
                for test in tests:
                    setattr(cls, test, None)

    # Hooks that a driver gives

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls) -> Iterator[Provider]:
        """An open provider on an installation with room for eight small servers."""
        raise NotImplementedError

    @classmethod
    def settings(cls, provider: Provider) -> tuple[Mapping[str, Any], Path]:
        """The options and state folder by which another process opens the same installation; JSON can hold the options."""
        raise NotImplementedError

    @classmethod
    def unreachable(cls, state_dir: Path) -> Provider:
        """A provider with valid options whose backend is not there."""
        raise NotImplementedError

    @classmethod
    def leave_half_built(cls, provider: Provider, spec: ServerSpec, token: uuid.UUID) -> None:
        """Leave what a create that was killed midway leaves behind, as late in its course as possible."""
        raise NotImplementedError

    @classmethod
    def lose_create(cls, provider: Provider, spec: ServerSpec, token: uuid.UUID) -> ProviderError:
        """Make the last changing call of a create happen and its answer be lost; return what the driver raised."""
        raise NotImplementedError

    @classmethod
    def foreign_server(cls, provider: Provider) -> AbstractContextManager[str]:
        """A server that cloudmgr did not make, by its ref, taken away at the end."""
        raise NotImplementedError

    @classmethod
    def unknown_state(cls, provider: Provider, ref: str) -> tuple[PowerState, str, str]:
        """Let the driver meet a native state it has never heard of: the power and native_state it gives, and the native one.

        A driver whose backend cannot be brought into such a state feeds its own translation directly. The shared server
        `ref` may be used and must be given back running.
        """
        raise NotImplementedError

    @classmethod
    def timed_out_write(cls, provider: Provider) -> ProviderError:
        """Let a write time out after it was sent, and return what the driver raised."""
        raise NotImplementedError

    @classmethod
    def timed_out_read(cls, provider: Provider) -> ProviderError:
        """Let a read time out, and return what the driver raised."""
        raise NotImplementedError

    # Hooks that a driver may override

    @classmethod
    def reopened(cls, provider: Provider) -> Provider:
        """A second connection to the same installation, remembering nothing of the first; closed by the caller."""
        options, state_dir = cls.settings(provider)
        return type(provider).open(options, backend="again", state_dir=state_dir)

    @classmethod
    def changes_sent(cls, provider: Provider) -> int | None:
        """How many changing calls the backend has received so far, where that can be told."""
        return None

    @classmethod
    def spec_for(cls, provider: Provider, arch: Architecture, **changes: Any) -> ServerSpec:
        """A small server on the first zone, image and network of the architecture."""
        zone = next(zone for zone in provider.list_zones() if zone.arch is arch and zone.available)
        image = next(image for image in provider.list_images() if image.arch is arch)
        networks = [
            network.ref
            for network in provider.list_networks()
            if not network.is_external and (not network.zones or zone.ref in network.zones)
        ]
        spec = ServerSpec(
            name=f"contract-{uuid.uuid4().hex[:8]}",
            arch=arch,
            zone=zone.ref,
            image=image.ref,
            networks=tuple(networks[:1]),
            **{"system_disk_gib": max(1, image.min_disk_gib)} | dict(cls.size),
        )
        return replace(spec, **changes)

    @classmethod
    def volume_spec(cls, provider: Provider) -> VolumeSpec:
        """A small volume beside the servers of `spec_for`."""
        zone = cls.spec_for(provider, cls.arch).zone
        return VolumeSpec(name=f"contract-{uuid.uuid4().hex[:8]}", size_gib=cls.volume_gib, zone=zone)

    @classmethod
    def free_addresses(cls, provider: Provider, network: str) -> tuple[FixedAddress, ...]:
        """One address of each family that nobody has, far from where backends begin to hand out."""
        seen = next(one for one in provider.list_networks() if one.ref == network)
        taken = {one.address for one in provider.list_addresses(network)}  # type: ignore[attr-defined]
        found = []
        for cidr, gateway in ((seen.cidr_v4, seen.gateway_v4), (seen.cidr_v6, None)):
            if cidr is not None:
                span = ipaddress.ip_network(cidr)
                last = min(span.num_addresses, 1 << 16) - 2
                free = (str(span[last - step]) for step in range(last) if str(span[last - step]) != gateway)
                address = next(one for one in free if one not in taken)
                found.append(FixedAddress(address, span.prefixlen, gateway))
        return tuple(found)

    @classmethod
    def leftover(cls, provider: Provider, token: uuid.UUID) -> AbstractContextManager[tuple[ResourceKind, str]]:
        """Something that no server uses, by kind and reference, taken away at the end; a volume where there are any."""
        return cls._loose_volume(provider, token)

    @classmethod
    def leftovers(cls, provider: Provider, token: uuid.UUID) -> list[str]:
        """Names of everything at the backend that was made for a token: disks, seeds, firmware state …"""
        if isinstance(provider, Evidence):
            with suppress(NotFound):
                return [f"{one.kind} {one.ref}" for one in provider.list_resources(token)]
        found = provider.find_server(token)
        return [] if found is None else [found.ref]

    @classmethod
    def pass_time(cls) -> None:
        """Let a little time go by between two looks; a driver with a clock of its own moves that instead."""
        time.sleep(cls.poll_s)

    # How the suite waits

    @classmethod
    def wait_for(cls, look: Callable[[], Any], is_reached: Callable[[Any], bool]) -> Any:
        """Look again and again, at most `wait_s` long."""
        deadline = time.monotonic() + cls.wait_s
        while not is_reached(seen := look()):
            assert time.monotonic() < deadline, f"not reached in {cls.wait_s} s; last seen: {seen}"
            cls.pass_time()
        return seen

    @classmethod
    def insist(cls, call: Callable[[], T]) -> T:
        """Make a call again while its error says that it may go through later, at most `wait_s` long."""
        deadline = time.monotonic() + cls.wait_s
        while True:
            try:
                return call()
            except ProviderError as error:
                assert_safe(error, cls.secrets)
                if error.remedy not in {Remedy.RETRY, Remedy.RECONCILE} or time.monotonic() > deadline:
                    raise
                cls.pass_time()

    @classmethod
    def create(cls, provider: Provider, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Create as the workflow does: the same call again while the backend is busy with an earlier part of it."""
        made = cls.insist(lambda: provider.create_server(spec, token))
        return cast(
            "ServerObservation",
            cls.wait_for(
                lambda: cls.insist(lambda: provider.create_server(spec, token)) if made.unfinished else made,
                lambda seen: not seen.unfinished,
            ),
        )

    @classmethod
    def build(cls, provider: Provider, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Create, and wait until it runs."""
        return cls.wait_until_running(provider, cls.create(provider, spec, token).ref)

    @classmethod
    def wait_until_running(cls, provider: Provider, ref: str) -> ServerObservation:
        return cast(
            "ServerObservation",
            cls.wait_for(lambda: provider.get_server(ref), lambda seen: seen.power is PowerState.RUNNING),
        )

    @classmethod
    def wait_until_stopped(cls, provider: Provider, ref: str) -> ServerObservation:
        return cast(
            "ServerObservation",
            cls.wait_for(lambda: provider.get_server(ref), lambda seen: seen.power is PowerState.STOPPED),
        )

    @classmethod
    def wait_until_gone(cls, provider: Provider, token: uuid.UUID) -> None:
        cls.wait_for(lambda: provider.find_server(token), lambda seen: seen is None)

    @classmethod
    def stop(cls, provider: Provider, ref: str) -> None:
        assert isinstance(provider, PowerControl), "what cannot be stopped cannot show this"
        cls.insist(lambda: provider.stop_server(ref))
        cls.wait_until_stopped(provider, ref)

    @classmethod
    def start(cls, provider: Provider, ref: str) -> None:
        assert isinstance(provider, PowerControl), "what cannot be started cannot show this"
        cls.insist(lambda: provider.start_server(ref))
        cls.wait_until_running(provider, ref)

    @classmethod
    def resize(cls, provider: Provider, ref: str, vcpus: int, memory_mib: int) -> ServerObservation:
        """Ask with the same size until the server shows it and rests."""
        assert isinstance(provider, Resizing)

        def look() -> ServerObservation:
            cls.insist(lambda: provider.resize_server(ref, vcpus=vcpus, memory_mib=memory_mib))
            return provider.get_server(ref)

        return cast(
            "ServerObservation",
            cls.wait_for(
                look,
                lambda seen: (seen.vcpus, seen.memory_mib, seen.power) == (vcpus, memory_mib, PowerState.STOPPED),
            ),
        )

    @classmethod
    def clear_away(cls, provider: Provider, token: uuid.UUID) -> None:
        """Delete by token until nothing is found, as the workflow does."""

        def look() -> ServerObservation | None:
            found = provider.find_server(token)
            if found is not None:
                provider.delete_server(found.ref)
                found = provider.find_server(token)
            return found

        cls.wait_for(lambda: cls.insist(look), lambda seen: seen is None)

    @classmethod
    def clear_volume(cls, provider: Provider, token: uuid.UUID) -> None:
        """Detach and delete the volume of a token until nothing is found."""
        assert isinstance(provider, Volumes)

        def look() -> object:
            found = provider.find_volume(token)
            if found is not None:
                provider.detach_volume(found.ref)
                provider.delete_volume(found.ref)
                found = provider.find_volume(token)
            return found

        cls.wait_for(lambda: cls.insist(look), lambda seen: seen is None)

    @classmethod
    def volume(cls, provider: Provider, token: uuid.UUID) -> str:
        """Make a volume, wait until nobody has it and it is whole, and return its reference."""
        assert isinstance(provider, Volumes)
        spec = cls.volume_spec(provider)
        cls.insist(lambda: provider.create_volume(spec, token))
        found = cls.wait_for(
            lambda: provider.find_volume(token), lambda seen: seen is not None and seen.state is VolumeState.AVAILABLE
        )
        return str(found.ref)

    @classmethod
    @contextmanager
    def _loose_volume(cls, provider: Provider, token: uuid.UUID) -> Iterator[tuple[ResourceKind, str]]:
        assert isinstance(provider, Volumes), "a driver without volumes overrides the hook `leftover`"
        try:
            yield ResourceKind.VOLUME, cls.volume(provider, token)
        finally:
            cls.clear_volume(provider, token)

    @contextmanager
    def refused(self, *kinds: type[ProviderError], shows: tuple[str, ...] = ()) -> Iterator[None]:
        """Expect one of these errors, safe to show and without secrets (P5, P7, P12)."""
        with pytest.raises(ProviderError) as caught:
            yield
        assert isinstance(caught.value, kinds), f"{caught.value!r} ({caught.value.detail})"
        assert_safe(caught.value, self.secrets, shows)
