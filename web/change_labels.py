"""What changes of servers are called: kinds as buttons have them, how far one is, and why a server is frozen."""

from collections.abc import Mapping

from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind
from cloudmgr.domain.server_changes import ChangeState, FrozenBy

CHANGES: Mapping[str, str] = {
    RequestKind.RENEW: N_("Renew"),
    RequestKind.RESIZE: N_("Change size"),
    RequestKind.FREEZE: N_("Freeze"),
    RequestKind.UNFREEZE: N_("Unfreeze"),
    RequestKind.RETIRE: N_("Ask to retire"),
}
CHANGE_STATES: Mapping[str, str] = {
    ChangeState.ASKED: N_("Asked for"),
    ChangeState.DOING: N_("Under way"),
    ChangeState.DONE: N_("Done"),
    ChangeState.FAILED: N_("Failed"),
}
FROZEN_BY: Mapping[str, str] = {
    FrozenBy.REQUEST: N_("By request"),
    FrozenBy.LEASE: N_("At the end of its lease"),
}
