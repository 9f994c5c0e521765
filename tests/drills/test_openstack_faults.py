"""The fault drill in short on `openstack`: real workers, killed and cut off; the peer and the ledger agree afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills import changes, suite
from tests.drills.run import Town

pytestmark = pytest.mark.lab("openstack")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with suite.town("openstack", tmp_path_factory.mktemp("openstack")) as founded:
        yield founded


@pytest.mark.parametrize("faults", suite.pairs("openstack"), ids="-then-".join)
def test_nothing_is_lost_doubled_or_falsely_gone(town: Town, tmp_path: Path, faults: tuple[str, str]) -> None:
    suite.check(town, tmp_path, faults)


def test_a_change_whose_worker_dies_after_the_call_is_made_once(town: Town, tmp_path: Path) -> None:
    changes.check(town, tmp_path / "city", (4, 8192))
