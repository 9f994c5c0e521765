"""Fixtures of the simulated cloud's tests."""

from contextlib import closing
from datetime import timedelta

import pytest

from cloudmgr.domain import clock
from tests.providers.simulated_cloud import MORNING, opened

pytest.register_assert_rewrite(
    *(
        f"tests.providers.{name}"
        for name in ("contract", "capabilities", "capabilities_disks", "capabilities_network", "checks", "hooks")
    )
)


@pytest.fixture
def state_dir(tmp_path):
    return tmp_path / "sim"


@pytest.fixture
def cloud(state_dir):
    with closing(opened(state_dir)) as provider:
        yield provider


@pytest.fixture
def advance():
    with clock.stepped(MORNING) as step:
        yield lambda seconds: step(timedelta(seconds=seconds))
