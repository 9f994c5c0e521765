"""The register of exports over HTTP: who sees which entry."""

import uuid

import pytest
from sqlmodel import Session, select

from cloudmgr.models import Export
from tests.http.town import Town

ADDRESS = "/api/v1/exports"


def _made(session: Session, actor: str, path: str, **fields: object) -> str:
    export = Export(
        **{"ledger": "inventory", "format": "csv", "view": "audit", "actor": actor, "organization_path": path} | fields
    )
    session.add(export)
    session.flush()
    return str(export.id)


@pytest.fixture
def entries(town: Town) -> dict[str, str]:
    """One export of the city, one of 芙蓉区, one of 岳麓区, by the people there."""
    with town.session() as session:
        made = {
            name: _made(session, name, place.path, actor_id=town.user(name).id)
            for name, place in (
                ("external-auditor", town.tree.city),
                ("district-admin", town.tree.furong),
                ("requester", town.tree.bureau),
                ("ylq-admin", town.tree.yuelu),
            )
        }
        session.commit()
    return made


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("audit-admin", {"external-auditor", "district-admin", "requester", "ylq-admin"}),
        ("external-auditor", {"external-auditor", "district-admin", "requester", "ylq-admin"}),
        ("district-admin", {"district-admin", "requester"}),
        ("ylq-admin", {"ylq-admin"}),
        ("requester", {"requester"}),
        ("quota-admin", set()),
    ],
)
def test_a_reader_sees_ones_own_exports_and_those_of_ones_subtree(
    town: Town, entries: dict[str, str], name: str, seen: set[str]
) -> None:
    client = town.client(name)
    assert {item["actor"] for item in client.get(ADDRESS).json()["items"]} == seen
    for actor, export_id in entries.items():
        assert client.get(f"{ADDRESS}/{export_id}").status_code == (200 if actor in seen else 404)


def test_pages_follow_one_another(town: Town, entries: dict[str, str]) -> None:
    client = town.client("audit-admin")
    first = client.get(ADDRESS, params={"limit": 3}).json()
    second = client.get(ADDRESS, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    found = [item["id"] for item in first["items"] + second["items"]]
    assert found == list(reversed(entries.values()))
    assert second["next_cursor"] is None


def test_a_digest_finds_its_export_and_another_finds_none(town: Town) -> None:
    with town.session() as session:
        export_id = _made(session, "x", town.tree.city.path, sha256="ab" * 32, state="done")
        session.commit()
    client = town.client("audit-admin")
    assert [item["id"] for item in client.get(ADDRESS, params={"sha256": "AB" * 32}).json()["items"]] == [export_id]
    assert client.get(ADDRESS, params={"sha256": "cd" * 32}).json()["items"] == []
    assert client.get(ADDRESS, params={"sha256": "short"}).status_code == 422


def test_an_unknown_export_is_not_found(town: Town) -> None:
    client = town.client("audit-admin")
    assert client.get(f"{ADDRESS}/{uuid.uuid4()}").status_code == 404
    assert client.get(f"{ADDRESS}/x").status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"ledger": "inventory", "format": "xlsx", "filters": {}}, "unsupported_format"),
        ({"ledger": "inventory", "format": "csv"}, "unsupported_format"),
        ({"ledger": "quota", "format": "xlsx"}, "invalid"),
        ({"format": "xlsx"}, "invalid"),
    ],
)
def test_background_exports_are_refused_with_the_way_out(town: Town, body: dict[str, object], code: str) -> None:
    response = town.client("audit-admin").post(ADDRESS, json=body, headers={"accept-language": "en"})
    assert (response.status_code, response.json()["code"]) == (422, code)
    if body["format"] == "csv":
        assert "/api/v1/inventory?format=csv" in response.json()["detail"]
    with town.session() as session:
        assert session.exec(select(Export)).all() == []
