"""The catalogue: what can be ordered, where it can be built, and who may know how full it is."""

import pytest
from sqlmodel import Session, select

from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.architectures import CpuFamily
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.models import AuditEvent, Backend, Flavor, Organization
from cloudmgr.services import catalogue
from cloudmgr.services.backends import CreateBackend, UpdateBackend
from cloudmgr.services.flavors import CreateFlavor, UpdateFlavor
from cloudmgr.services.images import CreateImage, UpdateImage, Variant
from cloudmgr.services.network_zones import CreateNetworkZone, UpdateNetworkZone
from cloudmgr.services.networks import CreateNetwork, UpdateNetwork
from cloudmgr.services.zones import CreateZone, UpdateZone, ZoneFilter, ZoneView
from tests.services.people import LOCAL, City, network_zone, person


def backend(session: Session, name: str = "kp", owner: Organization | None = None) -> Backend:
    command = CreateBackend(
        name=name, provider="simulated", datacenter="高新区机房", owner_organization=owner.id if owner else None
    )
    return catalogue.create_backend(session, LOCAL, command).backend


def zone(session: Session, at: str = "kp", **fields: object) -> ZoneView:
    given = {"backend": at, "ref": "az1", "name": "az1", "arch": "arm64", "cpu_family": CpuFamily.KUNPENG}
    return catalogue.create_zone(session, LOCAL, CreateZone.model_validate({**given, **fields}))


def image(name: str = "kylin-v10", variants: list[Variant] | None = None) -> CreateImage:
    return CreateImage(name=name, title="银河麒麟", os_name="Kylin", os_version="V10", variants=variants or [])


def test_a_flavor_has_one_name_and_positive_sizes(session: Session, local: Actor) -> None:
    flavor = catalogue.create_flavor(session, local, CreateFlavor(name="8C32G", vcpus=8, memory_mib=32768))
    assert flavor.system_disk_gib == 40
    with pytest.raises(Conflict):
        catalogue.create_flavor(session, local, CreateFlavor(name="8C32G", vcpus=8, memory_mib=32768))
    with pytest.raises(ValueError, match="greater_than_equal"):
        CreateFlavor(name="x", vcpus=0, memory_mib=1024)
    with pytest.raises(ValueError, match="extra_forbidden"):
        UpdateFlavor.model_validate({"name": "y"})
    with pytest.raises(ValueError, match="int_type"):
        UpdateFlavor.model_validate({"vcpus": None})


def test_a_withdrawn_flavor_is_shown_to_its_keepers_only(session: Session, local: Actor) -> None:
    city = City(session)
    flavor = catalogue.create_flavor(session, local, CreateFlavor(name="1C1G", vcpus=1, memory_mib=1024))
    catalogue.update_flavor(session, local, flavor.id, UpdateFlavor(is_active=False))
    requester, keeper = person(Role.REQUESTER, city.furong), person(Role.SYSTEM_ADMIN, city.root)
    assert catalogue.list_flavors(session, requester)[0] == []
    assert [each.name for each in catalogue.list_flavors(session, keeper)[0]] == ["1C1G"]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SYSTEM_ADMIN}))
def test_everybody_reads_the_catalogue_and_nobody_else_writes(session: Session, role: Role) -> None:
    city = City(session)
    actor = person(role, city.root)
    for read in (
        catalogue.list_flavors,
        catalogue.list_images,
        catalogue.list_backends,
        catalogue.list_zones,
        catalogue.list_networks,
        catalogue.list_network_zones,
    ):
        assert read(session, actor) == ([], None)
    with pytest.raises(Forbidden):
        catalogue.create_flavor(session, actor, CreateFlavor(name="x", vcpus=1, memory_mib=1024))
    with pytest.raises(Forbidden):
        catalogue.create_image(session, actor, image())
    with pytest.raises(Forbidden):
        catalogue.update_zone(session, actor, new_id(), UpdateZone(is_enabled=False))
    assert session.exec(select(Flavor)).all() == []


def test_an_image_has_one_variant_of_an_architecture_at_a_backend(session: Session, local: Actor) -> None:
    backend(session)
    twins = [Variant(arch="arm64", backend="kp", ref="a"), Variant(arch="amd64", backend="kp", ref="b")]
    view = catalogue.create_image(session, local, image(variants=twins))
    assert view.architectures == ["aarch64", "x86_64"]
    again = [Variant(arch="aarch64", backend="kp", ref="a"), Variant(arch="ARM64", backend="kp", ref="c")]
    with pytest.raises(InvalidInput) as refusal:
        catalogue.update_image(session, local, view.image.id, UpdateImage(variants=again))
    assert refusal.value.field == "variants[1]"
    with pytest.raises(InvalidInput) as refusal:
        catalogue.create_image(session, local, image("uos", [Variant(arch="z80", backend="kp", ref="a")]))
    assert refusal.value.field == "variants[0].arch"
    with pytest.raises(InvalidInput) as refusal:
        catalogue.create_image(session, local, image("uos2", [Variant(arch="arm64", backend="nowhere", ref="a")]))
    assert refusal.value.field == "variants[0].backend"


def test_new_variants_replace_the_old_and_the_same_again_is_no_event(session: Session, local: Actor) -> None:
    backend(session)
    made = catalogue.create_image(session, local, image(variants=[Variant(arch="arm64", backend="kp", ref="a")]))
    for _ in range(2):
        view = catalogue.update_image(
            session, local, made.image.id, UpdateImage(variants=[Variant(arch="x86_64", backend="kp", ref="b")])
        )
    assert [(each.arch, each.ref) for each in view.variants] == [("x86_64", "b")]
    assert len(session.exec(select(AuditEvent).where(AuditEvent.event == "image.write")).all()) == 2


def test_references_of_images_are_for_those_who_run_the_platform(session: Session, local: Actor) -> None:
    city = City(session)
    backend(session)
    catalogue.create_image(session, local, image(variants=[Variant(arch="arm64", backend="kp", ref="/srv/k.qcow2")]))
    seen = catalogue.list_images(session, person(Role.REQUESTER, city.furong))[0][0]
    assert seen.variants[0].ref is None
    assert seen.variants[0].arch == "aarch64"


def test_a_zone_is_domestic_by_its_processors_unless_told_otherwise(session: Session) -> None:
    backend(session)
    assert zone(session).zone.is_xinchuang
    assert zone(session, ref="az2", name="az2").zone.arch == "aarch64"
    intel = zone(session, ref="x", name="x", arch="amd64", cpu_family=CpuFamily.INTEL)
    assert not intel.zone.is_xinchuang
    assert not zone(session, ref="y", name="y", is_xinchuang=False).zone.is_xinchuang
    with pytest.raises(Conflict):
        zone(session)


def test_capacity_is_told_to_whom_the_pool_belongs(session: Session) -> None:
    city = City(session)
    backend(session)
    backend(session, "yl", owner=city.yuelu)
    zone(session, total={"vcpus": 100}, reserved={"vcpus": 10}, ratio_pct={"vcpus": 300})
    zone(session, "yl", total={"vcpus": 64})

    def told(actor: Actor) -> dict[str, object]:
        return {view.backend.name: view.capacity for view in catalogue.list_zones(session, actor)[0]}

    assert told(person(Role.SYSTEM_ADMIN, city.root)) == {"kp": {"vcpus": 270}, "yl": {"vcpus": 64}}
    assert told(person(Role.DISTRICT_ADMIN, city.yuelu)) == {"kp": None, "yl": {"vcpus": 64}}
    assert told(person(Role.DISTRICT_ADMIN, city.furong)) == {"kp": None, "yl": None}
    assert told(person(Role.REQUESTER, city.yuelu)) == {"kp": None, "yl": None}


def test_zones_are_found_by_backend_architecture_and_network_zone(session: Session, local: Actor) -> None:
    network_zone(session)
    backend(session)
    zone(session, network_zones=["政务外网区"])
    zone(session, ref="az2", name="az2")

    def found(**filters: str) -> list[str]:
        return [view.zone.ref for view in catalogue.list_zones(session, local, ZoneFilter(**filters))[0]]

    assert found(network_zone="政务外网区") == ["az1"]
    assert found(arch="arm64", backend="kp") == ["az1", "az2"]
    assert found(arch="x86_64") == []
    with pytest.raises(InvalidInput):
        found(arch="z80")


def test_what_people_decide_of_a_zone_raises_its_generation(session: Session, local: Actor) -> None:
    network_zone(session)
    backend(session)
    made = zone(session, total={"vcpus": 100})
    before = made.zone.generation
    changed = catalogue.update_zone(
        session,
        local,
        made.zone.id,
        UpdateZone(network_zones=["政务外网区"], ratio_pct={"vcpus": 200, "memory_mib": 150}, title="鲲鹏一区"),
    )
    assert changed.network_zones == ["政务外网区"]
    assert changed.capacity == {"memory_mib": 0, "vcpus": 200}
    assert changed.zone.generation == before + 1
    again = catalogue.update_zone(
        session, local, made.zone.id, UpdateZone(network_zones=["政务外网区"], title="鲲鹏一区")
    )
    assert again.zone.generation == before + 1
    with pytest.raises(InvalidInput) as refusal:
        catalogue.update_zone(session, local, made.zone.id, UpdateZone(network_zones=["没有的区"]))
    assert refusal.value.field == "network_zones[0]"


def test_a_backend_is_shared_with_exactly_those_named(session: Session, local: Actor) -> None:
    city = City(session)
    made = backend(session, owner=city.yuelu)
    view = catalogue.update_backend(session, local, made.id, UpdateBackend(shared_with=[city.furong.id]))
    assert [each.code for each in view.shared_with] == ["430102"]
    view = catalogue.update_backend(session, local, made.id, UpdateBackend(shared_with=[], owner_organization=None))
    assert (view.shared_with, view.owner) == ([], None)
    with pytest.raises(InvalidInput) as refusal:
        catalogue.update_backend(session, local, made.id, UpdateBackend(shared_with=[new_id()]))
    assert refusal.value.field == "shared_with"


def test_networks_carry_known_zones_and_true_addresses(session: Session, local: Actor) -> None:
    network_zone(session)
    backend(session)
    made = catalogue.create_network(
        session,
        local,
        CreateNetwork(
            backend="kp",
            ref="n1",
            name="外网",
            network_zone="政务外网区",
            cidr_v4="198.51.100.0/24",
            gateway_v4="198.51.100.1",
        ),
    )
    assert made.network.cidr_v4 == "198.51.100.0/24"
    for wrong, field in (
        ({"cidr_v4": "198.51.100.1/24"}, "cidr_v4"),
        ({"cidr_v4": "fd00::/64"}, "cidr_v4"),
        ({"cidr_v6": "10.0.0.0/8"}, "cidr_v6"),
        ({"gateway_v4": "10.0.0.1"}, "gateway_v4"),
        ({"gateway_v4": "nonsense"}, "gateway_v4"),
        ({"network_zone": "没有"}, "network_zone"),
    ):
        with pytest.raises(InvalidInput) as refusal:
            catalogue.update_network(session, local, made.network.id, UpdateNetwork.model_validate(wrong))
        assert refusal.value.field == field


def test_a_closed_network_zone_takes_nothing_new(session: Session, local: Actor) -> None:
    made = catalogue.create_network_zone(session, local, CreateNetworkZone(name="互联网区", code="HLW"))
    with pytest.raises(Conflict):
        catalogue.create_network_zone(session, local, CreateNetworkZone(name="互联网区2", code="HLW"))
    catalogue.update_network_zone(session, local, made.id, UpdateNetworkZone(is_active=False))
    backend(session)
    with pytest.raises(InvalidInput):
        zone(session, network_zones=["互联网区"])


def test_what_is_not_there_is_not_found(session: Session, local: Actor) -> None:
    for update, command in (
        (catalogue.update_flavor, UpdateFlavor(vcpus=1)),
        (catalogue.update_image, UpdateImage(title="x")),
        (catalogue.update_backend, UpdateBackend(title="x")),
        (catalogue.update_zone, UpdateZone(title="x")),
        (catalogue.update_network, UpdateNetwork(name="x")),
        (catalogue.update_network_zone, UpdateNetworkZone(name_en="x")),
    ):
        with pytest.raises(NotFound):
            update(session, local, new_id(), command)  # type: ignore[operator]
