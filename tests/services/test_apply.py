"""Applying a file: the sample's own form, idempotent, all or nothing, every finding by its place in the file."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

import quotas as ledger
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import Forbidden, InvalidInput
from cloudmgr.models import AuditEvent, Backend, Network, Organization, Project, Zone, ZoneInventory
from cloudmgr.seed.backends import IMAGES, demo_backends, network_zones_of
from cloudmgr.services import quotas
from cloudmgr.services.apply import ApplyRefused, apply_document, read_document
from cloudmgr.services.organizations import CreateOrganization, create_organization
from cloudmgr.services.quotas import SetLimits
from cloudmgr.store import facts, organizations, projects
from providers.simulated.options import SimulatedOptions
from tests.services.people import City, person

TREE = {
    "network_zones": [{"name": "政务外网区", "code": "WW"}],
    "districts": [
        {"code": "430102", "zh": "芙蓉区", "kind": "district", "parent": "CS"},
        {"code": "CS", "zh": "长沙市", "en": "Changsha", "kind": "city", "parent": None},
        {"code": "430100", "zh": "长沙市本级", "kind": "municipal", "parent": "CS"},
    ],
}


def document(**sections: Any) -> dict[str, Any]:
    return {**copy.deepcopy(TREE), **sections}


def run(session: Session, actor: Actor, given: dict[str, Any]) -> dict[str, Any]:
    return apply_document(session, actor, given, source="test.json").as_json()


def findings(session: Session, actor: Actor, given: dict[str, Any]) -> list[str]:
    with pytest.raises(ApplyRefused) as refusal:
        run(session, actor, given)
    placed = [f"{'.'.join(str(part) for part in each['loc'])}" for each in refusal.value.invalid]
    return [each["field"] for each in refusal.value.errors] + placed


def test_the_sample_city_is_loaded_whole_and_the_second_time_changes_nothing(
    session: Session, local: Actor, sample: Path
) -> None:
    given = read_document(sample)
    first = run(session, local, given)
    assert {kind: counts["created"] for kind, counts in first.items()} == {
        "network_zones": 5,
        "organizations": 59,
        "backends": 3,
        "flavors": 12,
        "images": 5,
        "zones": 6,
        "networks": 15,
        "projects": 29,
        "quotas": 13,
    }
    second = run(session, local, given)
    assert all(counts["created"] == counts["updated"] == 0 for counts in second.values())
    applied = session.exec(select(AuditEvent).where(AuditEvent.event == "system.apply")).all()
    assert len(applied) == 2
    assert applied[0].detail["sha256"] == applied[1].detail["sha256"]


def test_the_samples_departments_and_owners_stand_where_they_belong(
    session: Session, local: Actor, sample: Path
) -> None:
    run(session, local, read_document(sample))
    by_name = {each.name: each for each in session.exec(select(Organization))}
    codes = {each.id: each.code for each in by_name.values()}
    parent = {name: codes.get(each.parent_id) for name, each in by_name.items() if each.parent_id}
    assert parent["市大数据中心"] == "430100"
    assert parent["芙蓉区民政局"] == "430102"
    assert parent["芙蓉区人民政府办公室"] == "430102"
    assert parent["雨花区委政法委"] == "430111"
    assert parent["浏阳市应急管理局"] == "430181"
    assert parent["长沙经济技术开发区管委会"] == "CSJK"
    assert by_name["市发展和改革委员会"].code == "430100-01"
    owner = by_name["芙蓉区民政局"]
    project = projects.by_name(session, owner.id, "智慧社区综合服务平台")
    assert project is not None
    assert (project.mlps_level, project.project_no) == ("二级", "芙发改〔2026〕12号")
    assert (project.owner_name, project.network_zone) == ("王芳", "政务外网区")
    assert len(session.exec(select(Project).where(Project.name == "智慧社区综合服务平台")).all()) == 2


def test_the_samples_quotas_show_their_over_allocation(session: Session, local: Actor, sample: Path) -> None:
    run(session, local, read_document(sample))
    top = quotas.get_tree(session, local, depth=0)[0].usage
    assert top.limits["memory_mib"] == 32000 * 1024
    assert top.limits["servers"] is not None
    assert top.children_limit_sum["vcpus"] > (top.limits["vcpus"] or 0)
    assert (facts.read(session, facts.XINCHUANG_MIN_PCT) or {})["XJXQ"] == 50


def test_districts_of_the_sample_with_quota_of_their_own_have_it_for_all_that_the_city_limits(
    session: Session, local: Actor, sample: Path
) -> None:
    run(session, local, read_document(sample))
    root = organizations.root(session)
    assert root is not None
    limited = ledger.account_usage(session, root.account_id).limits
    own = {
        each.name: each.account_id
        for each in organizations.everything(session)
        if each.district_id == each.id and ledger.account_usage(session, each.account_id).limits
    }
    assert len(own) > 9, "some zones have none and live on the city's"
    assert not [name for name, account in own.items() if ledger.drawn_from_above(session, account, limited)]


def test_the_sample_describes_the_simulated_clouds_as_they_are(session: Session, local: Actor, sample: Path) -> None:
    given = read_document(sample)
    run(session, local, given)
    for section in demo_backends():
        shared = {"name", "title", "provider", "tier", "datacenter", "vendor", "network_zones"}
        options = SimulatedOptions.model_validate({key: value for key, value in section.items() if key not in shared})
        backend = session.exec(select(Backend).where(Backend.name == section["name"])).one()
        zones = session.exec(select(Zone).where(Zone.backend_id == backend.id)).all()
        assert {(z.ref, z.arch, z.cpu_family) for z in zones} == {
            (zone.ref, zone.arch.value, zone.cpu.family.value) for zone in options.zones
        }
        networks = session.exec(select(Network).where(Network.backend_id == backend.id)).all()
        assert {n.ref: n.network_zone for n in networks} == network_zones_of(section)
        assert len(networks) == 5
    assert {entry["name"]: {v["arch"] for v in entry["variants"]} for entry in given["images"]} == {
        name: set(archs) for name, archs in IMAGES.items()
    }


def test_sections_and_entries_may_stand_in_any_order(session: Session, local: Actor) -> None:
    run(session, local, document())
    assert {each.code for each in session.exec(select(Organization))} == {"CS", "430100", "430102"}


def test_a_provisional_root_takes_the_files_name(session: Session, local: Actor) -> None:
    root = create_organization(session, local, CreateOrganization(code="ROOT", name="ROOT")).organization
    counts = run(session, local, document())
    assert counts["organizations"] == {"created": 2, "updated": 1, "unchanged": 0}
    assert (root.code, root.name, root.kind) == ("CS", "长沙市", "city")


def test_another_root_beside_the_standing_one_is_refused(session: Session, local: Actor) -> None:
    create_organization(session, local, CreateOrganization(code="HN", name="湖南省"))
    assert "districts[1]" in " ".join(findings(session, local, document()))


def test_every_finding_is_told_at_once_by_its_place_and_word_in_the_file(session: Session, local: Actor) -> None:
    given = document(
        systems=[
            {"name": "一", "org": "芙蓉区民政局", "mlps": "二级", "zone": "没有的区"},
            {"name": "二", "org": "没有的单位", "mlps": "二级", "zone": "政务外网区"},
            {"name": "三", "org": "430102", "mlps": "二级", "zone": "政务外网区"},
        ],
        quotas=[{"tenant": "999999", "vcpu": 1}, {"tenant": "CS", "limits": {"vcpus{colour=red}": 1}}],
        zones=[{"backend": "nowhere", "ref": "z"}],
    )
    assert findings(session, local, given) == [
        "zones[0].backend",
        "systems[0].zone",
        "systems[1].org",
        "quotas[0].tenant",
        "quotas[1].limits.vcpus{colour=red}",
    ]


def test_a_malformed_file_is_told_by_field(session: Session, local: Actor) -> None:
    given = document(
        systems=[{"name": "一", "org": "CS", "mlps": "九级"}],
        flavors=[{"name": "x", "vcpus": "8", "memory_gib": 1}],
        surprise=[],
    )
    told = findings(session, local, given)
    assert "systems.0.mlps" in told
    assert "flavors.0.vcpus" in told
    assert "surprise" in told


def test_a_value_the_use_case_refuses_is_told_by_its_entry(session: Session, local: Actor) -> None:
    told = findings(session, local, document(flavors=[{"name": "x", "vcpus": 0, "memory_gib": 1}]))
    assert told == ["flavors.0.vcpus"]


def test_what_a_file_leaves_out_stays_as_it_is(session: Session, local: Actor) -> None:
    entry = {"name": "平台", "org": "430102", "mlps": "二级", "owner_name": "王芳", "owner_phone": "13800000000"}
    run(session, local, document(systems=[entry]))
    counts = run(session, local, document(systems=[{"name": "平台", "org": "430102", "mlps": "三级"}]))
    assert counts["projects"] == {"created": 0, "updated": 1, "unchanged": 0}
    project = session.exec(select(Project)).one()
    assert (project.mlps_level, project.owner_name) == ("三级", "王芳")


def test_codes_made_for_departments_stay_when_the_list_is_reordered(session: Session, local: Actor) -> None:
    run(session, local, document(departments=["市民政局", "市教育局"]))
    run(session, local, document(departments=["市公安局", "市教育局", "市民政局"]))
    codes = {
        each.name: each.code
        for each in session.exec(select(Organization).where(col(Organization.code).startswith("430100-")))
    }
    assert codes == {"市民政局": "430100-01", "市教育局": "430100-02", "市公安局": "430100-03"}


def test_a_department_without_one_municipal_level_must_name_its_parent(session: Session, local: Actor) -> None:
    given = document(departments=["市民政局"])
    given["districts"].append({"code": "430190", "zh": "另一个本级", "kind": "municipal", "parent": "CS"})
    assert findings(session, local, given) == ["departments[0].parent"]


def test_an_organization_is_neither_moved_nor_turned_into_another_kind(session: Session, local: Actor) -> None:
    run(session, local, document())
    moved = document(organizations=[{"code": "430102", "name": "芙蓉区", "kind": "district", "parent": "430100"}])
    moved["districts"] = []
    assert findings(session, local, moved) == ["organizations[0].parent"]
    turned = document(organizations=[{"code": "430102", "name": "芙蓉区", "kind": "park", "parent": "CS"}])
    turned["districts"] = []
    assert findings(session, local, turned) == ["organizations[0].kind"]


def test_a_circle_of_parents_is_refused(session: Session, local: Actor) -> None:
    run(session, local, document())
    circle = [
        {"code": "A", "name": "甲", "parent": "B"},
        {"code": "B", "name": "乙", "parent": "A"},
    ]
    assert findings(session, local, {"organizations": circle}) == ["organizations[0].parent", "organizations[1].parent"]


def test_limits_are_merged_and_may_be_of_a_project(session: Session, local: Actor) -> None:
    city = City(session)
    quotas.set_limits(
        session, local, city.furong.account_id, SetLimits(limits={"servers": 9}, reason="x"), replace=False
    )
    given = {
        "systems": [{"name": "平台", "org": "430102-01", "mlps": "二级"}],
        "quotas": [
            {"tenant": "430102", "vcpu": 480, "limits": {"vcpus{arch=arm64}": 64}},
            {"tenant": "430102-01/平台", "limits": {"servers": 50}},
        ],
    }
    run(session, local, given)
    furong = quotas.get_usage(session, local, city.furong.account_id).usage
    assert furong.limits == {"servers": 9, "vcpus": 480, "vcpus{arch=aarch64}": 64}
    assert run(session, local, given)["quotas"] == {"created": 0, "updated": 0, "unchanged": 2}


def test_a_zone_not_seen_yet_needs_its_architecture(session: Session, local: Actor) -> None:
    backend = {"name": "kp", "provider": "simulated", "datacenter": "机房", "owner": "430102", "shared_with": ["CS"]}
    bare = document(backends=[backend], zones=[{"backend": "kp", "ref": "az1"}])
    assert findings(session, local, bare) == ["zones[0].ref"]
    whole = document(
        backends=[backend],
        zones=[
            {"backend": "kp", "ref": "az1", "arch": "arm64", "overcommit": {"vcpus": 2.5}, "reserved": {"vcpus": 8}}
        ],
        network_zones=[],
    )
    run(session, local, whole)
    inventory = session.exec(select(ZoneInventory)).one()
    assert (inventory.ratio_pct, inventory.reserved, inventory.total) == (250, 8, 0)
    seen_again = {"zones": [{"backend": "kp", "ref": "az1", "enabled": False}]}
    assert run(session, local, seen_again)["zones"] == {"created": 0, "updated": 1, "unchanged": 0}


def test_only_the_command_line_applies_files(session: Session) -> None:
    city = City(session)
    with pytest.raises(Forbidden):
        apply_document(session, person(Role.SYSTEM_ADMIN, city.root), {}, source="x")


def test_yaml_reads_codes_as_text_and_notes_are_ignored(session: Session, local: Actor, tmp_path: Path) -> None:
    file = tmp_path / "city.yaml"
    file.write_text(
        "_note: 示例\n"
        "organizations:\n"
        "- {code: CS, name: 长沙市, kind: city, parent: null}\n"
        "- {code: 430102, name: 芙蓉区, kind: district, parent: CS, _why: 区}\n",
        encoding="utf-8",
    )
    run(session, local, read_document(file))
    assert organizations.by_code(session, "430102") is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", '{"flavors": [], "flavors": []}'),
        ("a.yaml", "a: [1"),
        ("a.yaml", "flavors: []\nflavors: []\n"),
        ("a.yaml", "- 1\n- 2\n"),
        ("a.yaml", "!!python/object/apply:os.system ['true']"),
        ("a.json", "[]"),
    ],
)
def test_what_is_not_a_file_of_sections_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput):
        read_document(tmp_path / name)
    with pytest.raises(InvalidInput):
        read_document(tmp_path / "missing.yaml")


def test_the_sample_is_strict_json(sample: Path) -> None:
    assert json.loads(sample.read_text(encoding="utf-8"))["districts"][0]["code"] == "CS"


def test_the_documented_example_is_true(session: Session, local: Actor, tmp_path: Path) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "apply.md").read_text(encoding="utf-8")
    file = tmp_path / "example.yaml"
    file.write_text(documented.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    run(session, local, {"network_zones": [{"name": "政务外网区", "code": "WW"}]})
    assert run(session, local, read_document(file))["quotas"]["created"] == 2
    assert all(not counts["updated"] for counts in run(session, local, read_document(file)).values())
