"""A whole installation in a process of its own: HTTP on a free port and a worker, over the small city, for a browser.

`python -m tests.browser.site HOME` builds it, prints its address and serves until its standard input is closed.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from dbos import run_dbos_database_migrations
from sqlmodel import select

from cloudmgr.adapters import crypto
from cloudmgr.main import create_app
from cloudmgr.models import User
from cloudmgr.worker import Worker
from tests.ports import free_port
from tests.world import World, build, simulated_backend

PASSWORD = "Correct-Horse-7"
NAMES = {
    "requester": "王芳",
    "admin": "李区管",
    "both": "周兼任",
    "stranger": "陈岳麓",
    "quota": "刘配额",
    "sysadmin": "赵系统",
    "secadmin": "钱安全",
    "auditor": "孙审计",
    "external": "吴外审",
}


@contextmanager
def running(home: Path) -> Iterator[str]:
    """Start an installation in another process and yield its address."""
    command = [sys.executable, "-m", "tests.browser.site", str(home)]
    with (
        (home.parent / "site.log").open("w") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://"), (home.parent / "site.log").read_text()[-3000:]
        try:
            yield address
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def main(home: Path) -> None:
    """Build the city, start everything, serve until nobody holds our standard input."""
    world = populate(home)
    worker = Worker(world.settings, world.engine)
    worker.start()
    port = free_port()
    app = create_app(world.settings, engine=world.engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.should_exit = True
    thread.join(5)
    worker.stop(wait_s=0)
    world.engine.dispose()


def populate(home: Path) -> World:
    """Make the city with names, passwords, an Arm and an x86 cloud."""
    arm = simulated_backend("kp", title="市级鲲鹏云（信创）", boot_s=0.5)
    x86 = simulated_backend("hg", model="hygon-7285", title="市级海光云", boot_s=0.5)
    world = build(home, backends=[arm, x86])
    run_dbos_database_migrations(world.settings.database_url)
    with world.session() as session:
        for user in session.exec(select(User)):
            user.display_name = NAMES[user.username]
            user.password_hash = crypto.hash_password(PASSWORD)
        session.commit()
    return world


if __name__ == "__main__":
    main(Path(sys.argv[1]))
