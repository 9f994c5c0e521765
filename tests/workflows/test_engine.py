"""What we touch of the pinned engine that it does not promise: a new version must be looked at, not slipped in."""

from types import SimpleNamespace

import pytest
from dbos import DBOS, _workflow_commands
from dbos._dbos import DBOSRegistry

from cloudmgr.workflows import engine


def test_the_private_names_that_calm_the_engine_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = DBOSRegistry()
    assert registry.get_internal_queue()._polling_interval_sec == 1.0
    assert _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC in (1.0, engine.CALM_S)  # calm since an engine was started
    monkeypatch.setattr(_workflow_commands, "_BACKGROUND_JOBS_INTERVAL_SEC", 1.0)  # put back after this test
    engine._calm(SimpleNamespace(_registry=registry))
    assert registry.get_internal_queue()._polling_interval_sec == engine.CALM_S
    assert _workflow_commands._BACKGROUND_JOBS_INTERVAL_SEC == engine.CALM_S


def test_the_private_call_of_the_reaper_is_there() -> None:
    assert callable(DBOS._recover_pending_workflows)
