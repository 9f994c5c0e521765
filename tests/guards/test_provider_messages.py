"""Every sentence a provider can say exists in Chinese, with the same fields, and no stale ones linger."""

import ast

import pytest
from babel.messages.pofile import read_po

from tests.providers.checks import ROOT, chinese_of, fields_of

PACKAGE = ROOT / "providers"


def templates() -> list[str]:
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "N_":
                (text,) = node.args
                assert isinstance(text, ast.Constant), f"{file.name}:{node.lineno}: N_() takes a literal"
                found.add(text.value)
    return sorted(found)


@pytest.mark.parametrize("template", templates())
def test_provider_message_exists_in_chinese(template):
    chinese = chinese_of(template)
    assert chinese
    assert fields_of(chinese) == fields_of(template)


def test_no_stale_line_stays_in_the_catalogue():
    with (ROOT / "cloudmgr/locale/zh_CN/providers.po").open("rb") as po:
        written = {message.id for message in read_po(po) if message.id}
    assert written <= set(templates())
