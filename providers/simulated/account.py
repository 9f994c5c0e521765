"""What changed in a simulated cloud since somebody looked, and the cloud's own quota."""

from cloudmgr.domain import clock
from providers.base import Changes, CloudQuotaObservation
from providers.capabilities import CloudQuota, Incremental
from providers.simulated import changes, limits
from providers.simulated.calls import EmptyAnswer, SimulatedCalls


class SimulatedAccount(SimulatedCalls, Incremental, CloudQuota):
    def list_changes(self, cursor: str | None) -> Changes:
        """The cursor names the installation, the last change and the moment, because some changes come by time alone."""
        try:
            with self._read("list_changes") as db:
                return changes.since(db, cursor)
        except EmptyAnswer:
            return Changes((), (), cursor or f"-:0:{clock.now().timestamp()}", is_full=True)

    def read_quota(self) -> list[CloudQuotaObservation]:
        with self._read("read_quota") as db:
            return limits.observe(db, self._options.cloud_quota or {})
