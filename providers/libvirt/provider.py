"""The libvirt driver: one KVM or QEMU host, where the domain's UUID is the token, so the host itself forbids doubles.

A server is a domain and two or three files named by its token. They are made in this order (disks, domain, power) and
removed so that something of the server stays findable until everything is gone. It holds no state but a connection
and a memory of image digests.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import libvirt

from cloudmgr.domain.messages import N_
from providers.base import (
    AddressObservation,
    ConsoleAddress,
    ImageObservation,
    NetworkObservation,
    PortRule,
    Provider,
    ProviderOptions,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    SnapshotObservation,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.capabilities import (
    Console,
    Evidence,
    FixedAddresses,
    PortRules,
    PowerControl,
    Resizing,
    Snapshots,
    Volumes,
)
from providers.errors import NotFound, ProviderError, Unsupported
from providers.libvirt import (
    addresses,
    build,
    console,
    evidence,
    inventory,
    observe,
    ports,
    power,
    remove,
    resize,
    snapshots,
    storage,
    volumes,
)
from providers.libvirt.connection import Connection, Session
from providers.libvirt.images import Images
from providers.libvirt.lookup import domain_of, parse_ref
from providers.libvirt.options import LibvirtOptions


class LibvirtProvider(
    Provider, PowerControl, Resizing, Snapshots, Volumes, FixedAddresses, PortRules, Console, Evidence
):
    """One host through libvirt-python; options in `LibvirtOptions`, words in docs/providers.md."""

    name: ClassVar[str] = "libvirt"
    Options: ClassVar[type[ProviderOptions]] = LibvirtOptions

    def __init__(self, options: LibvirtOptions, *, backend: str, state_dir: Path) -> None:
        self.options = options
        self.backend = backend
        self._connection = Connection(options, state_dir)
        self._images = Images(options, state_dir)
        self._has_filters = options.port_rules

    def __repr__(self) -> str:
        return f"LibvirtProvider({self.backend!r}, {self.options.uri!r})"

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:
        """Validate the options; the connection is opened by the first call."""
        return cls(LibvirtOptions.model_validate(dict(options)), backend=backend, state_dir=state_dir)

    def close(self) -> None:
        """Close the connection; a later call opens a new one."""
        self._connection.close()

    def unable(self) -> frozenset[str]:
        """Return `port_rules` where the operator switched them off or the host has no network filters."""
        if self.options.port_rules:
            with contextlib.suppress(ProviderError), self._connection.session() as session:
                self._has_filters = ports.are_here(session)  # what was seen last counts while the host is away
        return frozenset() if self._has_filters else frozenset({"port_rules"})

    def check(self) -> str:
        """Return the versions of libvirt and QEMU and the host's name; the storage pool must be there as well."""
        with self._connection.session() as session:
            conn = session.conn
            lib, qemu = session.call(conn.getLibVersion), session.call(conn.getVersion)
            storage.open_pool(session, self.options)
            return f"libvirt {_version(lib)}, QEMU {_version(qemu)} on {session.call(conn.getHostname)}"

    def list_zones(self) -> list[ZoneObservation]:
        """Return one zone for each architecture this host runs."""
        with self._connection.session() as session:
            return inventory.zones(session, self.options, storage.open_pool(session, self.options))

    def list_images(self) -> list[ImageObservation]:
        """Return the configured images."""
        return self._images.observe()

    def list_networks(self) -> list[NetworkObservation]:
        """Return libvirt's active networks."""
        with self._connection.session() as session:
            return inventory.networks(session)

    def list_servers(self) -> Iterator[ServerObservation]:
        """Yield every domain of the host, and the remains of creations that were cut off."""
        with self._connection.session(timeout_s=self.options.slow_timeout_s) as session:
            leases = observe.all_leases(session) if "lease" in self.options.address_sources else None
            host = self._host(session, leases)
            seen = set()
            for domain in session.call(session.conn.listAllDomains, 0):
                found = observe.observe(session, domain, host)
                if found is not None:
                    seen.add(uuid.UUID(found.ref))
                    yield found
            pool = storage.open_pool(session, self.options)
            for token in sorted(storage.tokens_with_volumes(session, pool) - seen):
                # Made since the domains were listed: not half-created, only newer than the list.
                if (late := self._find(session, token, host)) is not None:
                    yield late

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        """Make the disks, define the domain, power it on; complete what an earlier call with this token left."""
        image = self._images.choose(spec)
        build.check_spec(spec, self.options)
        with self._connection.session(write=True, timeout_s=self.options.slow_timeout_s) as session:
            self._images.verify(session, image, spec.image_digest)
        with self._connection.session(write=True) as session:
            build.build(session, self.options, spec, token, image)
            return self._get(session, token)

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        """Return the server of a token; disks without a domain are reported as half-created (ERROR)."""
        with self._connection.session() as session:
            return self._find(session, token, self._host(session))

    def get_server(self, ref: str) -> ServerObservation:
        """Return one server."""
        token = parse_ref(ref)
        with self._connection.session() as session:
            return self._get(session, token)

    def delete_server(self, ref: str) -> None:
        """Power off without asking, remove disks, seed, NVRAM, snapshots and the domain."""
        with contextlib.suppress(NotFound):
            token = parse_ref(ref)
            with self._connection.session(write=True) as session:
                remove.by_ref(session, self.options, storage.open_pool(session, self.options), token)

    def start_server(self, ref: str) -> None:
        """Power on; running already is success."""
        with self._domain(ref) as (session, domain):
            power.start(session, domain)

    def stop_server(self, ref: str) -> None:
        """Press the power button, or cut the power: see `power.stop`."""
        with self._domain(ref) as (session, domain):
            power.stop(session, domain, self.options)

    def reboot_server(self, ref: str) -> None:
        """Restart a running server, by force where the guest cannot be asked."""
        with self._domain(ref) as (session, domain):
            power.reboot(session, domain, self.options)

    def resize_server(self, ref: str, *, vcpus: int, memory_mib: int) -> None:
        """Set the size of a stopped server in one change of its description."""
        with self._domain(ref) as (session, domain):
            resize.resize(session, domain, self.options, vcpus=vcpus, memory_mib=memory_mib)

    def create_snapshot(self, ref: str, name: str) -> SnapshotObservation:
        """Take an internal snapshot; the same name again returns the one that stands."""
        with self._domain(ref, timeout_s=self.options.slow_timeout_s) as (session, domain):
            return snapshots.create(session, domain, name)

    def list_snapshots(self, ref: str) -> list[SnapshotObservation]:
        """Return a server's snapshots, oldest first."""
        with self._domain(ref, write=False) as (session, domain):
            return snapshots.list_all(session, domain)

    def revert_snapshot(self, ref: str, snapshot: str) -> None:
        """Go back to a snapshot; refused where the server's size was another then (P4)."""
        with self._domain(ref, timeout_s=self.options.slow_timeout_s) as (session, domain):
            snapshots.revert(session, domain, snapshot)
            ports.rebind(session, domain, parse_ref(ref))

    def delete_snapshot(self, ref: str, snapshot: str) -> None:
        """Remove a snapshot; the absent succeeds."""
        with (
            contextlib.suppress(NotFound),
            self._domain(ref, timeout_s=self.options.slow_timeout_s) as (session, domain),
        ):
            snapshots.delete(session, domain, snapshot)

    def console_addresses(self, ref: str) -> list[ConsoleAddress]:
        """Return where the running server's screen and serial line are; none while it is off."""
        with self._domain(ref, write=False) as (session, domain):
            return console.addresses(session, domain, self.options)

    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        """Make an empty volume in the pool."""
        with self._pool(write=True) as (session, pool):
            made = volumes.create(session, self.options, pool, spec, token)
            return volumes.observe(session, self.options, made, volumes.uses_of(session))

    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        """Return the volume of a token."""
        with self._pool() as (session, pool):
            found = volumes.find(session, pool, token)
            return found and volumes.observe(session, self.options, found, volumes.uses_of(session))

    def list_volumes(self) -> Iterator[VolumeObservation]:
        """Yield the volumes of the pool, and its files that are no image's and no server's."""
        with self._pool(slow=True) as (session, pool):
            yield from volumes.every(session, self.options, pool)

    def attach_volume(self, ref: str, server: str) -> None:
        """Give a volume to a server, running or not."""
        with self._pool(write=True) as (session, pool):
            volumes.attach(session, self.options, pool, volumes.of_ref(session, pool, ref), parse_ref(server))

    def detach_volume(self, ref: str) -> None:
        """Take a volume from the server that has it."""
        with self._pool(write=True) as (session, pool):
            volumes.detach(session, pool, volumes.of_ref(session, pool, ref))

    def delete_volume(self, ref: str) -> None:
        """Remove a volume; the absent succeeds."""
        with contextlib.suppress(NotFound), self._pool(write=True) as (session, pool):
            volumes.delete(session, pool, volumes.of_ref(session, pool, ref))

    def list_addresses(self, network: str) -> list[AddressObservation]:
        """Return what leases, reservations, seeds and the network itself say."""
        with self._connection.session(timeout_s=self.options.slow_timeout_s) as session:
            return addresses.of_network(session, network)

    def set_port_rules(self, ref: str, rules: Sequence[PortRule]) -> None:
        """Bind a network filter that lets exactly these in."""
        if "port_rules" in self.unable():
            raise Unsupported(N_("This host filters no ports; open them where the network's firewall is."))
        with self._domain(ref) as (session, domain):
            ports.set_rules(session, self.options, domain, parse_ref(ref), rules)

    def list_port_rules(self, ref: str) -> list[PortRule]:
        """Return the rules of the server's filter."""
        if "port_rules" in self.unable():
            raise Unsupported(N_("This host filters no ports; open them where the network's firewall is."))
        with self._domain(ref, write=False) as (session, domain):
            return ports.list_rules(session, domain, parse_ref(ref))

    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        """Return what the host keeps for a token, or for nobody."""
        with self._pool(slow=True) as (session, pool):
            if token is None:
                return evidence.kept_for_nobody(session, self.options, pool)
            return evidence.kept_for(session, self.options, pool, token)

    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        """Look for each by its own name."""
        with self._pool(slow=True) as (session, pool):
            return evidence.still_there(session, pool, resources)

    @contextlib.contextmanager
    def _pool(self, *, write: bool = False, slow: bool = False) -> Iterator[tuple[Session, Any]]:
        timeout_s = self.options.slow_timeout_s if slow else None
        with self._connection.session(write=write, timeout_s=timeout_s) as session:
            yield session, storage.open_pool(session, self.options)

    @contextlib.contextmanager
    def _domain(self, ref: str, *, write: bool = True, timeout_s: float | None = None) -> Iterator[tuple[Session, Any]]:
        token = parse_ref(ref)
        with self._connection.session(write=write, timeout_s=timeout_s) as session:
            yield session, domain_of(session, token)

    def _host(self, session: Session, leases: observe.Leases | None = None) -> observe.Host:
        name = session.call(session.conn.getHostname)
        return observe.Host(name, inventory.zone_refs(self.options), self.options, leases)

    def _find(self, session: Session, token: uuid.UUID, host: observe.Host) -> ServerObservation | None:
        domain = session.attempt(session.conn.lookupByUUID, token.bytes, absent={libvirt.VIR_ERR_NO_DOMAIN})
        found = observe.observe(session, domain, host) if domain is not None else None
        if found is not None:
            return found
        pool = storage.open_pool(session, self.options)
        return observe.half_created(token, host) if storage.find_volumes(session, pool, token) else None

    def _get(self, session: Session, token: uuid.UUID) -> ServerObservation:
        found = self._find(session, token, self._host(session))
        if found is None:
            raise NotFound(N_("There is no such server or snapshot on this host."), detail=f"domain {token}")
        return found


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
