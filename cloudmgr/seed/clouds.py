"""What people did by hand at the demonstration's clouds, so that the inbox of findings has something to decide.

Nothing of the ledger is touched: the looks of the worker find it, as they would find it at a real cloud.
"""

from pathlib import Path

from sqlmodel import Session, col, select

from cloudmgr.domain.architectures import Architecture
from cloudmgr.models import Backend, Server
from cloudmgr.settings import Settings
from providers.simulated import drill

STRANGER_AT, STRANGER = "cs-os-x86", "legacy-oa-01"
_NETWORK, _ADDRESS = "cs-os-x86-ww", "10.30.8.20"
GROWN = "430102-mzj-zhsq-prd-app01"
_GROWN_MIB = 16_384


def add_stranger(settings: Settings) -> None:
    """Let a server stand that was there before us, once; called before the first look, so that it is no alarm."""
    folder = _folder(settings, STRANGER_AT)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(each.name == STRANGER for each in drill.list_servers(folder)):
        return
    drill.add_foreign_server(
        folder, STRANGER, arch=Architecture.X86_64, vcpus=4, memory_mib=8192, system_disk_gib=80, zone="x86-az2",
        network=_NETWORK, addresses=[_ADDRESS],
    )  # fmt: skip


def grow_one(session: Session, settings: Settings) -> None:
    """Give one server of ours more memory past us; again it changes nothing. Without the server nothing is done."""
    found = session.exec(
        select(Server.native_ref, Backend.name)
        .join(Backend, col(Server.backend_id) == col(Backend.id))
        .where(Server.name == GROWN, col(Server.native_ref).is_not(None))
    ).first()
    if found is not None:
        drill.change(_folder(settings, found[1]), str(found[0]), memory_mib=_GROWN_MIB)


def _folder(settings: Settings, backend: str) -> Path:
    """Return where a simulated cloud keeps its state."""
    return settings.data_dir.absolute() / "backends" / backend
