"""More steps than connections: those that wait for the quota tree must not keep the one that holds it from ending."""

from collections.abc import Callable

from tests.workflows.proofs import Case, check_slate


def test_more_servers_at_once_than_connections_are_all_built(case: Callable[..., Case]) -> None:
    one = case(count=8)
    one.settings["database"] = {**one.settings.get("database", {}), "pool_size": 2}
    done = one.run(timeout_s=300)
    assert done["status"] == 0, (done, one.log())
    check_slate(one, standing=8)
