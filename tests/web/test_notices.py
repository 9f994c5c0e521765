"""The inbox, its badge, the preferences and the delivery log as pages."""

from cloudmgr.domain import clock
from cloudmgr.models import Delivery, Happening, User
from cloudmgr.services import deliveries
from tests.web.conftest import Console


def _spread(console: Console) -> None:
    with console.world.session() as session:
        deliveries.spread(session, console.world.settings)
        session.commit()


def test_the_inbox_tells_counts_and_is_marked_read(console: Console) -> None:
    console.world.submit(name="srv")
    reader = console.reader("admin")
    assert "暂无通知" in reader.page("/notices").text
    _spread(console)
    assert "1 条未读通知" in reader.page("/").text
    page = reader.page("/notices")
    assert "有申请待您审批" in page.text
    reader.post("/notices/read")
    assert reader.location == "/notices?done=read"
    assert "条未读通知" not in reader.page("/notices").text
    assert "None match these filters." in console.reader("admin", "en").page("/notices?unread=1").text


def test_preferences_are_kept_and_a_wrong_address_is_told(console: Console) -> None:
    reader = console.reader("requester")
    assert "不发送电子邮件" in reader.page("/notices/preferences").text
    reader.post("/notices/preferences", 422, email="nobody at home")
    reader.post("/notices/preferences", email="wang@example.gov.cn", **{"request.fulfilled/inbox": "1"})
    assert reader.location == "/notices/preferences?done=saved"
    answer = reader.client.get("/notices/preferences").text
    assert 'name="request.fulfilled/inbox" value="1" checked' in answer
    assert 'name="request.fulfilled/email" value="1" checked' not in answer
    assert "wang@example.gov.cn" in answer


def test_the_language_switch_is_kept_with_the_account(console: Console) -> None:
    def spoken() -> str:
        with console.world.session(write=False) as session:
            return session.get_one(User, console.world.people["requester"]).language

    reader = console.reader("requester")
    reader.post("/language", language="en", next="/notices")
    assert (reader.location, spoken()) == ("/notices", "en")
    reader.post("/language", language="klingon")
    assert spoken() == "en"
    reader.post("/notices/preferences", email="", language="zh_CN")
    assert spoken() == "zh_CN"
    console.reader(None).post("/language", language="en")
    stranger = console.reader("requester")
    stranger.client.cookies.set("cloudmgr_session", "of nobody")
    stranger.post("/language", language="en")
    assert spoken() == "zh_CN"


def test_a_failed_delivery_is_sent_again_by_its_button(console: Console) -> None:
    with console.world.session() as session:
        happening = Happening(event="lease.reminder", object_type="server", dedupe="x", spread_at=clock.now())
        session.add(happening)
        session.flush()
        moment = clock.now()
        delivery = Delivery(
            happening_id=happening.id, channel="webhook", target="oa", state="failed", next_at=moment, give_up_at=moment
        )
        session.add(delivery)
        session.commit()
    reader = console.reader("sysadmin")
    assert "云主机即将到期" in reader.page("/notices/deliveries?state=failed").text
    reader.post(f"/notices/deliveries/{delivery.id}/replay")
    assert "待发送" in reader.page("/notices/deliveries").text
    console.reader("requester").page("/notices/deliveries", 403)
