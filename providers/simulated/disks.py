"""Volumes of a simulated cloud, and the evidence of what it keeps for whom."""

import uuid
from collections.abc import Iterator, Sequence

from cloudmgr.domain.messages import N_
from providers.base import ResourceObservation, VolumeObservation, VolumeSpec
from providers.capabilities import Evidence, Volumes
from providers.errors import Busy, InvalidSpec
from providers.simulated import capacity, evidence, limits, servers, volumes
from providers.simulated.calls import EmptyAnswer, SimulatedCalls
from providers.simulated.volumes import NativeVolume

_IN_BETWEEN = frozenset({NativeVolume.CREATING, NativeVolume.ATTACHING, NativeVolume.DETACHING})


class SimulatedDisks(SimulatedCalls, Volumes, Evidence):
    def create_volume(self, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        zone = self._zones.get(spec.zone)
        if zone is None:
            raise InvalidSpec(N_("There is no zone {zone} at the cloud."), zone=spec.zone)
        if spec.size_gib < 1:
            raise InvalidSpec(N_("A volume cannot have {size} GiB."), size=spec.size_gib)
        with self._write("create_volume", token=token, about=spec) as attempt:
            row = volumes.find(attempt.db, token=token)
            attempt.outcome = "built" if row is None else "found"
            if row is None:
                limits.refuse_beyond(attempt.db, self._options.cloud_quota, volumes=1, disk_gib=spec.size_gib)
                capacity.refuse_full_store(attempt.db, zone, spec.size_gib)
                attempt.ref = volumes.add(attempt.db, spec, token, after_s=self._options.power_s)
            else:
                attempt.ref = row["ref"]
            return volumes.observe(volumes.require(attempt.db, attempt.ref))

    def find_volume(self, token: uuid.UUID) -> VolumeObservation | None:
        with self._read("find_volume", token=token) as db:
            row = volumes.find(db, token=token)
            return None if row is None else volumes.observe(row)

    def list_volumes(self) -> Iterator[VolumeObservation]:
        try:
            with self._read("list_volumes") as db:
                rows = db.execute("SELECT * FROM volumes ORDER BY created_at, ref")
                return iter([volumes.observe(row) for row in rows])
        except EmptyAnswer:
            return iter(())

    def attach_volume(self, ref: str, server: str) -> None:
        with self._write("attach_volume", ref=ref) as attempt:
            row = volumes.require(attempt.db, ref)
            servers.require(attempt.db, server)
            holder = volumes.server_of(row)
            native = volumes.native_state(row)
            if holder == server and native in {NativeVolume.ATTACHING, NativeVolume.IN_USE}:
                return
            if holder is not None and holder != server:
                raise Busy(N_("Another server has this volume; detach it first."), detail=f"{ref} is at {holder}")
            if native in _IN_BETWEEN:
                raise _changing(native)
            volumes.move(
                attempt.db,
                ref,
                NativeVolume.ATTACHING,
                NativeVolume.IN_USE,
                self._options.power_s,
                server=server,
            )

    def detach_volume(self, ref: str) -> None:
        with self._write("detach_volume", ref=ref) as attempt:
            row = volumes.find(attempt.db, ref=ref)
            if row is None or volumes.server_of(row) is None:
                return
            native = volumes.native_state(row)
            if native == NativeVolume.DETACHING:
                return
            if native in _IN_BETWEEN:
                raise _changing(native)
            volumes.move(
                attempt.db,
                ref,
                NativeVolume.DETACHING,
                NativeVolume.AVAILABLE,
                self._options.power_s,
                server=row["server"],
            )

    def delete_volume(self, ref: str) -> None:
        with self._write("delete_volume", ref=ref) as attempt:
            row = volumes.find(attempt.db, ref=ref)
            if row is None:
                return
            if volumes.server_of(row) is not None:
                raise Busy(N_("A server has this volume; detach it first."))
            attempt.db.execute("DELETE FROM volumes WHERE ref = ?", (ref,))

    # Evidence

    def list_resources(self, token: uuid.UUID | None = None) -> list[ResourceObservation]:
        with self._read("list_resources", token=token) as db:
            return evidence.without_owner(db) if token is None else evidence.kept_for(db, token)

    def still_there(self, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        with self._read("still_there") as db:
            return [one for one in resources if evidence.is_there(db, one)]


def _changing(native: str) -> Busy:
    return Busy(N_("The volume is still changing; try again shortly."), detail=f"state {native}")
