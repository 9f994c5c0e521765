"""A gallery: every component with usual, empty, long and failing values, in both languages."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import web
from tests.web.html import Page
from web import labels
from web.forms import Form
from web.presenters.quota import Bar, bars, ratio_pct
from web.presenters.requests import EventLine, SeatLine, StageLine
from web.rendering import environment

GALLERY = """
{% import "components/page.html" as page %}
{% import "components/field.html" as field %}
{% from "components/table.html" import table, cell %}
{% from "components/badge.html" import badge, tag, request_phase, rehearsed %}
{% from "components/notice.html" import notice, empty %}
{% from "components/pagination.html" import pagination %}
{% from "components/quota_bar.html" import bar, legend %}
{% from "components/progress.html" import stages, event_line %}
{% from "components/facts.html" import fact %}
{% call page.head("标题 <b>", "about", crumbs=(("a", "/a"),), badge=badge("request_phase", "in_review")) %}<a href="/x">x</a>{% endcall %}
{% call page.card("card", flush=true) %}{% call table(["a", ("b", "number")], "caption") %}<tr>{{ cell("a", long) }}{{ cell("b", 1, "number") }}</tr>{% endcall %}{% endcall %}
{{ field.summary(form) }}{{ field.csrf("token") }}
{{ field.text(form, "servers[0].name", "Name", required=true, hint="hint") }}
{{ field.text(form, "secret", "Secret", type="password") }}
{{ field.area(form, "purpose", "Purpose") }}
{{ field.select(form, "env", "Environment", [("prd", "p"), ("tst", "t")], blank="choose") }}
{{ field.check(form, "long", "Long") }}
{{ notice("fine", "ok") }}{{ notice("bad", "bad", ["one", long]) }}{{ empty("nothing", "at all") }}
{{ pagination("/first", "/next", 50) }}
{% for each in shown %}{{ bar(each) }}{% endfor %}{{ legend(asked=true) }}
{{ stages(stage_lines) }}<ol>{% for event in events %}{{ event_line(event) }}{% endfor %}</ol>
<dl>{{ fact("known", 0) }}{{ fact("unknown", none) }}</dl>
{{ request_phase("retire", "fulfilled") }}{{ rehearsed() }}{{ tag("t", "ok") }}
"""


@pytest.fixture(params=["zh_CN", "en"])
def gallery(request: pytest.FixtureRequest) -> str:
    form = Form({"servers[0].name": 'a"><script>', "secret": "never shown", "env": "tst", "long": "1"})
    form.take([("servers[0].name", "name is wrong"), ("elsewhere", "of no field")], ["servers[0].name"])
    at = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
    return (
        environment(request.param)
        .from_string(GALLERY)
        .render(
            form=form,
            long="很长" * 200,
            shown=[
                Bar("vcpus", 100, 20, 10, 30),
                Bar("vcpus{arch=aarch64}", 10, 20, 0, 5, ok=False),
                Bar("memory_mib", None, 2048, 0),
                Bar("disk_gib", 0, 0, 0),
            ],
            stage_lines=[
                StageLine("District review", "return", "", [SeatLine("李区管", "", "请补充")], at),
                StageLine("x", "open", "all of them", [SeatLine("y", "Approved", ""), SeatLine("z", "", "")], None),
            ],
            events=[EventLine(7, at, "task", "hostname", False, "changed", True)],
        )
    )


def test_the_gallery_is_well_formed(gallery: str) -> None:
    assert Page(f"<main>{gallery}</main>").faults == []


def test_what_people_typed_never_becomes_markup(gallery: str) -> None:
    assert "<script>" not in gallery
    assert "<b>" not in gallery


def test_what_is_hidden_stays_hidden_whatever_its_class_says() -> None:
    sheet = (Path(web.__file__).parent / "static" / "css" / "base.css").read_text()
    assert re.search(r"\[hidden\]\s*{\s*display: none !important;", sheet)


def test_a_password_is_never_sent_back(gallery: str) -> None:
    assert "never shown" not in gallery


def test_an_error_stands_beside_its_field_and_the_rest_on_top(gallery: str) -> None:
    assert 'id="servers[0].name-error">name is wrong' in gallery
    assert 'aria-invalid="true"' in gallery
    assert "<p>of no field</p>" in gallery


def test_what_is_not_known_says_so_and_zero_stays_zero(gallery: str) -> None:
    assert "未采集" in gallery or "Not collected" in gallery
    assert "<dd>0</dd>" in gallery


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_every_value_of_every_closed_set_has_a_label(language: str) -> None:
    label = environment(language).globals["label"]
    for enumeration, vocabulary in labels.ENUMS.items():
        for value in enumeration:
            assert value in labels.VOCABULARIES[vocabulary], f"{vocabulary} lacks {value}"
            assert label(vocabulary, value)
    if language == "zh_CN":
        for vocabulary, words in labels.VOCABULARIES.items():
            for template in words.values():
                known = environment("zh_CN").globals["_"](template)
                assert known != template or template == "AMD", f"{vocabulary}: {template} has no Chinese line"


def test_a_bar_never_leaves_its_frame() -> None:
    for bar in (
        Bar("a", 10, 8, 5, 9, ok=False),
        Bar("a", 0, 0, 3, 1, ok=False),
        Bar("a", None, 5, 5, 5),
        Bar("a", 10, 25, 0),
    ):
        assert 0 <= bar.used_pct + bar.held_pct + bar.asked_pct <= 100


def test_usual_resources_come_before_narrowed_ones() -> None:
    keys = [bar.key for bar in bars({"vcpus{arch=aarch64}": 5, "zzz": 1, "vcpus": 9, "servers": 2}, {}, {}, {})]
    assert keys == ["servers", "vcpus", "zzz", "vcpus{arch=aarch64}"]


def test_over_allocation_is_told_in_percent() -> None:
    assert ratio_pct(100, 130) == 130
    assert ratio_pct(None, 130) is None
    assert ratio_pct(100, None) is None


def test_a_quota_key_is_told_in_words() -> None:
    assert environment("zh_CN").globals["key_label"]("vcpus{arch=aarch64}") == "vCPU（架构: Arm（aarch64））"
    assert environment("en").globals["key_label"]("memory_mib") == "Memory"
