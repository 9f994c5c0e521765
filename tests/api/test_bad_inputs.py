"""Bad inputs over the API: each has its status, its code and its words, none is a fault of ours, none leaves a row behind."""

import copy
import dataclasses
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.main import create_app
from cloudmgr.models import Backend, Server, User
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import DraftRequest
from cloudmgr.store.db import new_session
from tests.api import bad_inputs, bad_inputs_elsewhere
from tests.api.bad_inputs import Bad
from tests.stocked import copied, project_named, row_counts, stand
from tests.support import client_for
from tests.world import World

TABLE: list[Bad] = [
    *bad_inputs.TRANSPORT,
    *bad_inputs.CREATES,
    *bad_inputs.DRAFTS,
    *bad_inputs.RETIRES,
    *bad_inputs.DEEDS,
    *bad_inputs_elsewhere.QUOTAS,
    *bad_inputs_elsewhere.PEOPLE,
    *bad_inputs_elsewhere.CATALOGUE,
]
MEMBERS = {"type", "title", "status", "code", "detail", "errors", "instance", "request_id"}


@dataclasses.dataclass
class Place:
    """A prepared city behind an application, and the ids that the table names."""

    world: World
    app: FastAPI
    ids: dict[str, str]
    clients: dict[str | None, TestClient] = dataclasses.field(default_factory=dict)

    def client(self, who: str | None) -> TestClient:
        if who not in self.clients:
            with new_session(self.world.engine) as session:
                user = session.get_one(User, self.world.people[who]) if who else None
            self.clients[who] = client_for(self.app, user)
        return self.clients[who]

    def filled(self, value: Any) -> Any:
        """Put ids in the place of their names, all the way down; texts with other braces stay as they are."""
        if isinstance(value, str):
            for name, found in self.ids.items():
                value = value.replace("{" + name + "}", found)
            return value
        if isinstance(value, dict):
            return {key: self.filled(each) for key, each in value.items()}
        return [self.filled(each) for each in value] if isinstance(value, list) else value

    def send(self, bad: Bad, **headers: str) -> Any:
        sent = self.filled(copy.deepcopy(bad.sent))
        sent["headers"] = {**sent.get("headers", {}), **headers}
        if "json" in sent:  # as bytes, so that half a character travels as its escape
            sent["content"] = json.dumps(sent.pop("json")).encode()
            sent["headers"].setdefault("Content-Type", "application/json")
        return self.client(bad.who).request(bad.method, self.filled(bad.path), **sent)


def _prepare(world: World) -> dict[str, str]:
    request = world.submit(name="waiting")
    own = world.submit("both", name="own")
    standing = world.submit(name="standing")
    powerless = world.submit(name="powerless")
    for each in (standing, powerless):
        world.approve(each)
    with world.session() as session:
        found = {server.request_id: server for server in session.exec(select(Server))}
        stand(session, found[standing].id)
        weak = stand(session, found[powerless].id)
        weak.backend_id = session.exec(select(Backend).where(Backend.name == "x86")).one().id
        half = DraftRequest(kind="create", project=world.project.id, servers=[{"name": "half", "count": 1}])
        draft = requests.save_draft(session, world.actor("requester"), half)
        ids = {
            "request": request,
            "own": own,
            "draft": draft.id,
            "server": found[standing].id,
            "unbuilt": found[request].id,
            "powerless": weak.id,
            "project": world.project.id,
            "other_project": world.other_project.id,
            "classified": project_named(session, "涉密项目").id,
            "level4": project_named(session, "四级项目").id,
            "closed": project_named(session, "关停项目").id,
            "ownerless": project_named(session, "无主项目").id,
            "another": project_named(session, "另一项目").id,
            "account": world.project.account_id,
            "root_account": world.root.account_id,
            "furong_account": world.furong.account_id,
            "root": world.root.id,
            "minzheng": world.minzheng.id,
            "nothing": uuid.uuid4(),
            **{name: world.people[name] for name in ("requester", "sysadmin", "secadmin")},
        }
        session.commit()
    today = clock.today()
    days = {"today": today, "next_year": today + timedelta(days=365), "four_years": today + timedelta(days=4 * 366)}
    return {name: str(value) for name, value in (ids | days).items()}


@pytest.fixture(scope="module")
def places(
    world_templates: Callable[[str], World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Place]]:
    made: dict[str, Place] = {}

    def get(dialect: str) -> Place:
        if dialect not in made:
            home: Path = tmp_path_factory.mktemp("bad") / "city"
            world = copied(world_templates(dialect), home)
            made[dialect] = Place(world, create_app(world.settings, engine=world.engine), _prepare(world))
        return made[dialect]

    yield get
    for place in made.values():
        place.world.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    return places(request.param)


def _words(document: dict[str, Any]) -> str:
    return " ".join([document["detail"], *(str(each.get("message", "")) for each in document["errors"])])


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_a_bad_input_is_answered_in_words_and_leaves_nothing(place: Place, bad: Bad) -> None:
    with place.world.session(write=False) as session:
        before = row_counts(session)
    answer = place.send(bad)
    document = answer.json()
    told = f"{bad.name}: {answer.status_code} {document}"
    assert answer.headers["content-type"] == "application/problem+json", told
    assert document.keys() >= MEMBERS, told
    assert (answer.status_code, document["status"], document["code"]) == (bad.status, bad.status, bad.code), told
    assert place.filled(bad.zh) in _words(document), told
    assert _is_chinese(document["detail"]), told
    assert _is_chinese(document["title"]), told
    assert "[a-z" not in _words(document).lower(), "a pattern is not told to people"
    for each in document["errors"]:
        assert _is_chinese(str(each.get("message", "无"))), told
    if bad.at is not None:
        assert bad.at in {each.get("field") for each in document["errors"]}, told
    with place.world.session(write=False) as session:
        assert row_counts(session) == before


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_a_bad_input_is_answered_in_english_too(places: Callable[[str], Place], bad: Bad) -> None:
    place = places("sqlite")
    document = place.send(bad, **{"Accept-Language": "en"}).json()
    assert (document["status"], document["code"]) == (bad.status, bad.code)
    assert bad.en in _words(document)
    plain = _words(document)
    for name in (
        "芙蓉区",
        "长沙市",
        "民政局",
        "智慧社区综合服务平台",
        "另一项目",
        "政务外网区",
        "互联网区",
        "测试区",
        "涉密网",
        "未定级",
    ):
        plain = plain.replace(name, "")
    for level in "一二三四五":
        plain = plain.replace(f"{level}级", "")
    assert not _is_chinese(plain), plain


def test_the_table_is_long_enough_and_names_each_line_once() -> None:
    assert len(TABLE) >= 70
    assert len({bad.name for bad in TABLE}) == len(TABLE)
