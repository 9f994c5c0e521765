"""The room of deletion certificates: a sheet to print and sign, that never proves more than was said."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, CertificateItem, DeletionCertificate, Server
from tests.web.conftest import Console


def certify(
    console: Console, server_id: uuid.UUID, *, left: str = "", state: str = "complete", **changes: Any
) -> uuid.UUID:
    """Write a certificate as the workflow leaves it: every piece gone, or the piece of kind `left` still there."""
    now = clock.now()
    with console.world.session() as session:
        server = session.get_one(Server, server_id)
        held = {"name": server.name, "host": "kp-host-1", "ipv4": ["10.60.0.9"], "system_disk_gib": 40}
        row = DeletionCertificate(
            server_id=server.id,
            organization_id=server.organization_id,
            request_id=server.request_id,
            backend_id=server.backend_id,
            server=held | {"resource_no": server.resource_no, "project_name": "智慧社区综合服务平台"},
            state=state,
            checked_at=now,
            number="XH20261122-0001" if state == "complete" else None,
            issued_at=now if state == "complete" else None,
            due_at=None if state == "complete" else now + timedelta(minutes=5),
        )
        for name, value in changes.items():
            setattr(row, name, value)
        session.add(row)
        session.flush()
        for kind, size in (("server", None), ("disk", 40), ("nic", None), ("address", None)):
            gone = kind != left
            session.add(
                CertificateItem(
                    certificate_id=row.id, kind=kind, ref=f"{kind}-ref-1", name=f"srv-{kind}", size_gib=size,
                    state="gone" if gone else "there", checked_at=now, gone_at=now if gone else None,
                )
            )  # fmt: skip
        quotas.place(session, reservation_id=server.reservation_id, part_id=server.id, dims={"backend": "kp"})
        quotas.post(session, reservation_id=server.reservation_id, part_id=server.id)
        released = None if not left else {"servers": 1, "vcpus": 2, "memory_mib": 4096, "ip_addresses": 1}
        quotas.release(session, reservation_id=server.reservation_id, part_id=server.id, amounts=released)
        server.phase = "retired" if state == "complete" else "retiring"
        session.add(server)
        session.commit()
        return row.id


def test_an_issued_certificate_tells_every_piece_and_has_room_to_sign(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    id_ = certify(console, server_id)
    page = console.reader("requester").page(f"/certificates/{id_}")
    for words in ("资源销毁证明", "XH20261122-0001", "disk-ref-1", "已全部释放", "签字", "智慧社区综合服务平台"):
        assert words in page.text, words
    assert "仍存在或未获答复 0 项" in page.text
    assert "kp-host-1" not in page.text, "hosts are for operators"
    assert "再次核查" not in page.text
    auditor = console.reader("auditor", "en").page(f"/certificates/{id_}")
    assert "kp-host-1" in auditor.words
    assert f"/servers/{server_id}" in auditor.links
    assert f"/certificates/{id_}" in auditor_list(console)


def auditor_list(console: Console) -> list[str]:
    return console.reader("auditor").page("/certificates?number=XH20261122-0001").links


def test_what_is_left_is_told_with_the_quota_it_holds(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    reason = {"code": "delete_unconfirmed", "message": {"template": "The cloud still has {pieces}.", "params": {"pieces": "disk srv-system"}}}  # fmt: skip
    id_ = certify(console, standing(), left="disk", state="incomplete", reason=reason)
    reader = console.reader("sysadmin", "en")
    page = reader.page(f"/certificates/{id_}")
    assert "The cloud still has disk srv-system." in page.text
    assert "this sheet proves nothing yet" in page.text
    assert "Disk 0 GiB 40 GiB Disk" in page.text
    assert "Servers 1 - -" in page.text
    reader.post(f"/certificates/{id_}/checks")
    assert reader.location == f"/certificates/{id_}?done=asked_again"
    with console.world.session(write=False) as session:
        assert session.exec(select(AuditEvent).where(AuditEvent.event == "certificate.check")).one()
    assert "Ask the cloud again" not in console.reader("requester", "en").page(f"/certificates/{id_}").text
    console.reader("requester").post(f"/certificates/{id_}/checks", 403)


def test_a_certificate_that_is_issued_is_not_asked_for_again(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    id_ = certify(console, standing())
    page = console.reader("sysadmin", "en").post(f"/certificates/{id_}/checks", 409)
    assert "nothing is left to ask" in page.text


def test_strangers_find_no_certificate(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    id_ = certify(console, standing())
    stranger = console.reader("stranger")
    stranger.page(f"/certificates/{id_}", 404)
    stranger.page(f"/certificates/{uuid.uuid4()}", 404)
    assert "暂无销毁证明" in stranger.page("/certificates").text
    stranger.page("/certificates?state=nonsense", 422)
