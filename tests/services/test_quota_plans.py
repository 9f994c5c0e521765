"""The yearly plan from a sheet: headings, cells, previews, and all or none."""

import io

import pytest
from openpyxl import Workbook
from sqlmodel import Session, select

import quotas as ledger
from cloudmgr.adapters import workbooks
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import ImportRefused, InvalidInput
from cloudmgr.models import AuditEvent
from cloudmgr.services import quota_plans, quotas
from cloudmgr.services.quota_plan_sheet import TITLES, title_of, understood
from cloudmgr.services.quota_plans import PlanOptions
from cloudmgr.services.quotas import SetLimits
from quotas import Part, parse_key, reserve
from quotas.keys import RESOURCES
from tests.services.people import City, person

HEADER = "单位编码,单位名称,vCPU（核）,内存（GiB）,vCPU{架构=aarch64，信创=是},备注\n"


def options(**more) -> PlanOptions:
    return PlanOptions(reason="2027年度计划", basis_no="长数〔2027〕1号", **more)


def limits(session: Session, account):
    return {key: value for key, value in ledger.account_usage(session, account).limits.items() if value is not None}


@pytest.fixture
def city(session: Session, local: Actor) -> City:
    made = City(session)
    command = SetLimits(limits={"vcpus": 8000, "memory_mib": 10**8}, reason="年度核定")
    quotas.set_limits(session, local, made.root.account_id, command, replace=False)
    return made


def load(session: Session, actor: Actor, text: str, **more):
    return quota_plans.load(session, actor, text.encode(), options(**more))


def test_a_sheet_sets_what_is_filled_in_and_leaves_the_rest(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    text = HEADER + '430102,芙蓉区,480,"1,920",240,\n430104,岳麓区,300,,无,不动内存\n'
    shown = load(session, admin, text, dry_run=True)
    assert limits(session, city.furong.account_id) == {}
    done = load(session, admin, text)
    narrowed = "vcpus{arch=aarch64,is_xinchuang=true}"
    assert limits(session, city.furong.account_id) == {"vcpus": 480, "memory_mib": 1920 * 1024, narrowed: 240}
    assert limits(session, city.yuelu.account_id) == {"vcpus": 300}
    assert shown.changes == done.changes
    assert [(each.row, each.column, each.before, each.after) for each in done.changes] == [
        (2, "vCPU（核）", None, 480),
        (2, "内存（GiB）", None, 1966080),
        (2, "vCPU{架构=aarch64，信创=是}", None, 240),
        (3, "vCPU（核）", None, 300),
    ]
    set_events = session.exec(select(AuditEvent).where(AuditEvent.actor == admin.username)).all()
    assert [each.detail["basis_no"] for each in set_events] == ["长数〔2027〕1号"] * 2
    assert load(session, admin, text).changes == []


def test_every_wrong_cell_is_told_by_row_and_column_and_nothing_is_set(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    text = (
        HEADER + "430102,,480,,,\n430104,,许多,12.5,,\nXX,,1,,,\nCS,,无,,,\n,,1,,,\n430102-01,,1,,,\n430102-01,,2,,,\n"
    )
    shown = load(session, admin, text, dry_run=True)
    assert [(each.row, each.column, each.value) for each in shown.errors] == [
        (3, "vCPU（核）", "许多"),
        (3, "内存（GiB）", "12.5"),
        (4, "账户编码", "XX"),
        (5, "vCPU（核）", ""),
        (6, "账户编码", ""),
        (7, "账户编码", "430102-01"),
        (8, "账户编码", "430102-01"),
    ]
    with pytest.raises(ImportRefused) as refused:
        load(session, admin, text)
    assert len(refused.value.errors) == 7
    assert limits(session, city.furong.account_id) == {}


def test_a_limit_below_use_is_shown_and_taken(session: Session, city: City) -> None:
    part = Part(city.root.id, {"vcpus": 8}, {"arch": "aarch64"})
    reserve(session, reservation_id=city.root.id, account_id=city.furong.account_id, parts=[part])
    done = load(session, person(Role.QUOTA_ADMIN, city.root), "编码,vcpus\n430102,5\n")
    assert [(each.held, each.is_below_use) for each in done.changes] == [(8, True)]


def test_one_loads_only_what_one_may_set(session: Session, city: City) -> None:
    admin = person(Role.DISTRICT_ADMIN, city.furong)
    text = "编码,vcpus\n430102-01,5\n430102,6\n430104,7\n"
    shown = load(session, admin, text, dry_run=True)
    assert [each.row for each in shown.errors] == [3, 4]
    assert [each.row for each in shown.changes] == [2]


@pytest.mark.parametrize(
    "header",
    ["编码\n", "vcpus\n", "编码,内存\n", "编码,核数\n", "编码,vcpus,vCPU（核）\n", "编码,vcpus{形状=圆}\n", ""],
)
def test_columns_that_mean_nothing_are_refused(session: Session, city: City, header: str) -> None:
    with pytest.raises(InvalidInput):
        load(session, person(Role.QUOTA_ADMIN, city.root), header + "430102,1,1\n")


def test_the_template_is_read_again_and_changes_nothing(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    load(session, admin, HEADER + "430102,,480,1920,240,\n")
    content = quota_plans.template(session, admin)
    assert workbooks.read(content)[0][:3] == ["账户编码", "名称", "云主机（台）"]
    done = quota_plans.load(session, admin, content, options())
    assert (done.rows, done.changes) == (4, [])


def test_every_resource_has_a_heading_that_is_read_again() -> None:
    assert TITLES.keys() == RESOURCES
    keys = [
        *RESOURCES,
        "gpus{arch=aarch64,backend=KP-1,environment=prd,is_xinchuang=true,network_zone=政务外网区,tier=city}",
    ]
    sheet = understood([["编码", *(title_of(parse_key(key)) for key in keys)]])
    assert list(sheet.columns) == keys


def test_a_cell_beyond_the_heading_and_a_formula_without_result_are_told(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    for text in ("单位编码,vCPU（核）\n430102,1,000\n", "单位编码,vCPU（核）,\n430102,1,000\n"):
        with pytest.raises(ImportRefused) as refused:
            load(session, admin, text)
        assert [(each["row"], each["column"], each["value"]) for each in refused.value.errors] == [(2, "C", "000")]
    book = Workbook()
    book.active.append(["单位编码", "vCPU（核）"])
    book.active.append(["430102", "=400+80"])
    file = io.BytesIO()
    book.save(file)
    with pytest.raises(ImportRefused) as refused:
        quota_plans.load(session, admin, file.getvalue(), options())
    assert [(each["row"], each["column"], each["value"]) for each in refused.value.errors] == [
        (2, "vCPU（核）", "=400+80")
    ]
    assert limits(session, city.furong.account_id) == {}


def test_every_heading_at_fault_is_told() -> None:
    with pytest.raises(InvalidInput) as refused:
        understood([["单位编码", "CPU核心", "vCPU（核）", "算力", "vCPU（核）"]])
    assert [(each["row"], each["column"]) for each in refused.value.errors] == [
        (1, "CPU核心"),
        (1, "算力"),
        (1, "vCPU（核）"),
    ]
