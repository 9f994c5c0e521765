"""The words for how notices travel; what they tell of has its words in `cloudmgr.domain.notices`."""

from collections.abc import Mapping
from enum import StrEnum

from cloudmgr.domain.messages import N_
from cloudmgr.domain.notices import Channel, DeliveryChannel, DeliveryState, NoticeEvent

CHANNELS: Mapping[str, str] = {
    Channel.INBOX: N_("Inbox"),
    Channel.EMAIL: N_("E-mail"),
}
DELIVERY_CHANNELS: Mapping[str, str] = {
    DeliveryChannel.EMAIL: N_("E-mail"),
    DeliveryChannel.WEBHOOK: N_("Webhook"),
}
DELIVERY_STATES: Mapping[str, str] = {
    DeliveryState.WAITING: N_("Waiting to be sent"),
    DeliveryState.SENT: N_("Sent"),
    DeliveryState.FAILED: N_("Failed"),
}
NOTICE_ENUMS: Mapping[type[StrEnum], str] = {
    NoticeEvent: "notice_event",
    Channel: "notice_channel",
    DeliveryChannel: "delivery_channel",
    DeliveryState: "delivery_state",
}
