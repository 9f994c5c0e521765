"""Messages: told late, kept translatable, safe from what people type."""

import json

from cloudmgr.domain.messages import Message
from cloudmgr.i18n import translator

CHINESE = {"{name} is {state}": "{name}当前{state}", "active": "运行中", "no {thing}": "没有{thing}"}


def chinese(template: str) -> str:
    return CHINESE.get(template, template)


def test_a_message_is_told_in_the_readers_language_its_inner_messages_too() -> None:
    message = Message("{name} is {state}", {"name": "app01", "state": Message("active")})
    assert str(message) == "app01 is active"
    assert message.render(chinese) == "app01当前运行中"


def test_a_list_is_told_as_one_sentence() -> None:
    message = Message("{reasons}", {"reasons": [Message("no {thing}", {"thing": "room"}), "x"]})
    assert message.render(chinese) == "没有room; x"


def test_lists_are_joined_as_the_readers_language_does() -> None:
    names = Message("{names}", {"names": ["A", "B"]})
    sentences = Message("{all}", {"all": [Message("active"), Message("no {thing}", {"thing": "room"})]})
    assert (str(names), str(sentences)) == ("A, B", "active; no room")
    chinese_too = translator("zh_CN")
    assert (names.render(chinese_too), sentences.render(chinese_too)) == ("A、B", "正常；no room")


def test_storing_and_reading_back_keeps_every_message_translatable() -> None:
    message = Message(
        "{name} is {state}", {"name": "a", "state": [Message("active"), Message("no {thing}", {"thing": 1})]}
    )
    stored = json.loads(json.dumps(message.as_json()))
    assert Message.from_json(stored).render(chinese) == message.render(chinese)


def test_braces_that_people_type_are_text() -> None:
    message = Message("{name} is {state}", {"name": "{state}", "state": "{0.__class__}"})
    assert message.render(chinese) == "{state}当前{0.__class__}"
