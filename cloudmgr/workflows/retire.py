"""The end of one server: delete by token, wait until the backend says it is gone, give everything back."""

from dbos import DBOS

from cloudmgr.workflows import facts, provision
from cloudmgr.workflows.steps import write

DELETE_TRIES = 30
"""Some ten minutes of asking; then a person is told and the server stays `retiring`."""


@DBOS.workflow(name="retire_server", max_recovery_attempts=1000)
def retire_server(server_id: str, number: int) -> bool:
    """Retire one server; True when it is gone and counted no more."""
    where = write("retire_begin", facts.begin_retire, server_id, number)
    if where is None:
        return True
    if where["backend"] is not None and not provision.remove(server_id, where["backend"], DELETE_TRIES):
        write("retire_stuck", facts.retire_stuck, server_id, number, None)
        return False
    write("retired", facts.retired, server_id, number)
    return True
