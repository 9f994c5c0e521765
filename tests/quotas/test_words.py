"""What the ledger says, in both languages."""

import ast
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import quotas
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import Message
from quotas import Binding, QuotaExceeded, parse_key

CATALOGUE = Path(quotas.__file__).parents[1] / "cloudmgr/locale/zh_CN/quotas.po"


def chinese():
    with CATALOGUE.open("rb") as file:
        return {message.id: message.string for message in read_po(file) if message.id}


def templates():
    for path in Path(quotas.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "N_":
                yield node.args[0].value


def fields(template):
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name)


def test_every_template_has_its_chinese_line_with_the_same_fields():
    lines = chinese()
    told = set(templates())
    assert told == set(lines)
    for template in told:
        assert fields(template) == fields(lines[template]), template


def test_a_refusal_is_told_in_chinese_with_level_key_numbers_and_a_way_out():
    binding = Binding(new_id(), "芙蓉区", parse_key("vcpus{arch=arm64}"), 480, 400, 72, 16)
    lines = chinese()
    told = QuotaExceeded([binding]).message.render(lambda template: lines.get(template, template))
    assert told == (
        "配额不足：芙蓉区的vCPU〔架构 aarch64〕配额为 480，剩余 8（已用 400，预占 72），本次申请 16。"
        "您可以减少申请数量、退还不再使用的资源，或申请调增上述层级的配额。"
    )


def test_a_refusal_survives_being_stored():
    binding = Binding(new_id(), "芙蓉区", parse_key("vcpus"), 1, 1, 0, 1)
    message = QuotaExceeded([binding, binding]).message
    assert str(Message.from_json(message.as_json())) == str(message)


def test_memory_is_told_in_gib_where_all_of_it_is_whole():
    lines = chinese()
    key = parse_key("memory_mib{arch=arm64}")
    whole = Binding(new_id(), "芙蓉区", key, 480 * 1024, 400 * 1024, 0, 96 * 1024).describe()
    assert whole.render(lambda template: lines.get(template, template)) == (
        "芙蓉区的内存（GiB）〔架构 aarch64〕配额为 480，剩余 80（已用 400，预占 0），本次申请 96"
    )
    assert "80 of 480 GiB of memory" in str(whole)
    broken = Binding(new_id(), "芙蓉区", key, 480 * 1024, 512, 0, 96 * 1024).describe()
    assert "has 491008 of 491520 MiB of memory" in str(broken)


def test_keys_are_told_in_words_where_limits_are_refused(city):
    lines = chinese()
    calls = (
        (lambda: city.limit(city.root, {"vcpus": None}), "顶级账户必须保留vCPU的限额"),
        (lambda: city.limit(city.furong, {"vcpus": -5}), "vCPU不能为 -5"),
    )
    for call, words in calls:
        with pytest.raises(InvalidInput) as refused:
            call()
        assert refused.value.message.render(lambda template: lines.get(template, template)).startswith(words)
    city.limit(city.root, {"vcpus": 100})
    city.limit(city.grid, {"vcpus": 10})
    city.limit(city.yuelu, {"vcpus": 50})
    quotas.set_guarantees(city.session, account_id=city.yuelu, guarantees={"vcpus": 10}, reason="x")
    with pytest.raises(Conflict) as refused:
        quotas.move_account(city.session, account_id=city.yuelu, parent_id=city.furong)
    assert "岳麓区的vCPU设有保障额度" in refused.value.message.render(lambda template: lines.get(template, template))
