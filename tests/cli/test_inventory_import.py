"""`cloudmgr inventory template` and `import` as an office uses them: against a running server, in both languages."""

import csv
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from cloudmgr.models import User
from cloudmgr.store.db import new_session
from providers.simulated import drill
from tests import support, world
from tests.cli.conftest import Run
from tests.workflows.looking import Watched, watched

_SAYS = {
    "信息系统": "智慧社区综合服务平台", "环境": "生产", "用途": "应用", "到期时间": "2027/1/20", "网络区域": world.ZONE,
}  # fmt: skip


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[Watched]:
    """A city whose cloud shows two servers that nobody owns, served; the commands speak to it as its administrator."""
    del run  # it forgets the environment: ours comes after
    with watched(tmp_path / "city", None) as clouds:
        for name in ("old-1", "Old.2"):
            drill.add_foreign_server(clouds.state_dir(), name, arch="aarch64", zone="kp-z1")
        clouds.look()
        app = support.make_app(clouds.city.settings.database_url)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        with new_session(clouds.city.engine) as session:
            token = support.open_token(session, session.get_one(User, clouds.city.people["sysadmin"]))
            session.commit()
        port = server.servers[0].sockets[0].getsockname()[1]
        monkeypatch.setenv("CLOUDMGR_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("CLOUDMGR_TOKEN", token)
        yield clouds
        server.should_exit = True
        thread.join()
        app.state.engine.dispose()


def _fill(source: Path, target: Path, **instead: str) -> None:
    """Fill in a template as a spreadsheet would save it."""
    headers, *lines = csv.reader(source.read_text("utf-8-sig").splitlines())
    for line in lines:
        for header, cell in (_SAYS | instead).items():
            line[headers.index(header)] = cell
        if line[headers.index("云主机名称")] == "Old.2" and not instead:
            line[headers.index("云主机名称")] = "old-2"
    with target.open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([headers, *lines])


def test_an_office_takes_over_what_stands(
    office: Watched, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet, bad, good = (tmp_path / f"{name}.csv" for name in ("纳管", "bad", "good"))
    made = run("inventory", "template", "-o", str(sheet))
    assert (made.status, made.err.strip()) == (0, "2 servers that nobody owns"), made.err
    _fill(sheet, bad, 环境="生铲")
    monkeypatch.setenv("CLOUDMGR_LANG", "zh_CN")
    tried = run("inventory", "import", str(bad), "--dry-run")
    assert tried.status == 1
    assert "第 2 行 环境“生铲”：生铲不是本列允许的内容。请使用其中之一：生产" in tried.out
    assert "云主机名称“Old.2”" in tried.out, "all that is wrong is told at once"
    refused = run("inventory", "import", str(bad))
    assert (refused.status, "请使用其中之一：生产" in refused.err) == (1, True), "the way out is told here too"
    _fill(sheet, good)
    monkeypatch.setenv("CLOUDMGR_LANG", "en")
    assert "2 of 2 rows would be taken." in run("inventory", "import", str(good), "--dry-run").out
    assert run("inventory", "import", str(good)).out.endswith("2 of 2 rows were taken.\n")
    again = run("inventory", "import", str(good), "--json")
    assert (again.status, again.json["taken"], again.json["known_count"]) == (0, 0, 2)
    assert "2 rows are in the ledger already" in run("inventory", "import", str(good)).out
    assert run("inventory", "template", "-o", str(sheet)).err.strip() == "0 servers that nobody owns"
