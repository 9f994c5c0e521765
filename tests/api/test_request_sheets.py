"""A sheet of requests and a clone by API: every way to send it, replay, roles and the template."""

import csv
import io
from datetime import timedelta

from sqlmodel import select

from cloudmgr.adapters import workbooks
from cloudmgr.domain import clock
from cloudmgr.main import create_app
from cloudmgr.models import ResourceRequest, User
from cloudmgr.store.db import new_session
from tests.support import client_for
from tests.world import ZONE, World

SHEETS = "/api/v1/requests/sheets"
ROW = {
    "system_name": "智慧社区综合服务平台",
    "name": "app",
    "count": 2,
    "flavor": "2C4G",
    "image": "kylin-v10",
    "arch": "aarch64",
    "network_zone": ZONE,
    "purpose": "社区服务",
    "lease_end": (clock.today() + timedelta(days=200)).isoformat(),
}


def test_a_sheet_is_taken_in_every_form_and_once_by_key(any_world: World) -> None:
    app = create_app(any_world.settings, engine=any_world.engine)
    with new_session(any_world.engine) as session:
        people = {name: session.get_one(User, any_world.people[name]) for name in ("requester", "admin")}
    requester, admin = client_for(app, people["requester"]), client_for(app, people["admin"])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ROW)
    writer.writeheader()
    writer.writerow(ROW)
    content = text.getvalue().encode()
    tried = requester.post(SHEETS, params={"dry_run": True}, json={"rows": [ROW]})
    assert tried.status_code == 200, tried.text
    assert (tried.json()["accepted"], tried.json()["servers"]) == (True, 2)
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "sheet-1"}
    made = [requester.post(SHEETS, content=content, headers=headers).json() for _ in range(2)]
    assert made[0] == made[1]
    [asked] = made[0]["requests"]
    assert (asked["rows"], asked["servers"], asked["amounts"]["vcpus"]) == ([2], 2, 4)
    again = requester.post(SHEETS, files={"file": ("a.csv", content)})
    assert (again.status_code, again.json()["code"]) == (422, "import_refused")
    assert again.json()["errors"][0]["field"] == "rows[2].name"
    assert "已有名为" in again.json()["errors"][0]["message"]
    assert admin.post(SHEETS, json={"rows": [ROW]}).status_code == 403
    assert requester.post(SHEETS, content=b"x", headers={"Content-Type": "text/html"}).status_code == 415
    with any_world.session(write=False) as session:
        assert len(list(session.exec(select(ResourceRequest)))) == 1
    template = requester.get("/api/v1/requests/sheet-template", headers={"Accept-Language": "en"})
    assert template.headers["content-type"] == workbooks.MEDIA_TYPE
    assert workbooks.read(template.content)[0][0] == "Information system"
    cloned = requester.post(f"/api/v1/requests/{asked['id']}/clone")
    assert (cloned.status_code, cloned.json()["phase"], cloned.json()["number"]) == (201, "draft", None)
    assert cloned.json()["body"]["servers"][0]["name"] == "app-2"
    submitted = requester.post(f"/api/v1/requests/{cloned.json()['id']}/submit")
    assert submitted.status_code == 200, submitted.text
    assert admin.post(f"/api/v1/requests/{asked['id']}/clone").status_code == 403
