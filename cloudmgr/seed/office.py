"""What an office has on its desks, so that the rooms of quota and approval are not empty: loans, a limit for a time, a
request for quota that waits, and one request that is due today or tomorrow.

All by the use cases that people use. The limits of the sample stay as they are: whoever tries the demonstration counts on
them. What is lent and raised here are limits of three bureaus of the city, which the sample gives none.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta

from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.domain.units import MIB_PER_GIB
from cloudmgr.models import ApprovalStage
from cloudmgr.services import quota_loans, quotas, requests
from cloudmgr.services.quota_loans import DecideLoan, OfferLoan
from cloudmgr.services.quotas import SetLimits
from cloudmgr.services.request_inputs import QuotaChangeRequest
from cloudmgr.services.working_calendar import calendar_of
from cloudmgr.store import organizations

_LOAN_DAYS, _OFFER_DAYS, _TERM_DAYS = 45, 90, 120
LENDER, BORROWER, FOR_A_TIME, ASKING = "市大数据中心", "市行政审批服务局", "市人力资源和社会保障局", "岳麓区卫生健康局"
_ALLOTTED = {LENDER: (600, 2400), BORROWER: (300, 1200), FOR_A_TIME: (200, 800)}
"""vCPUs and GiB of memory."""


def furnish(session: Session, person: Callable[[str], Actor], local: Actor, due: uuid.UUID) -> None:
    """Write all of it in the caller's transaction; `person` acts as one of the demonstration's people by username.

    `due` is the request whose time limit is to run out next.
    """
    today, quota = clock.today(), person("quota")
    for name, (vcpus, memory_gib) in _ALLOTTED.items():
        allotted = SetLimits(
            limits={"vcpus": vcpus, "memory_mib": memory_gib * MIB_PER_GIB},
            reason="演示数据：2026 年度市级单位配额",
            basis_no="长数〔2026〕5号",
        )
        quotas.set_limits(session, quota, _account(session, name), allotted, replace=False)
    lent = OfferLoan(
        lender=_account(session, LENDER),
        borrower=_account(session, BORROWER),
        amounts={"vcpus": 40, "memory_mib": 160 * MIB_PER_GIB},
        until=today + timedelta(days=_LOAN_DAYS),
        reason="年底办件高峰，市大数据中心借出闲置配额",
        basis_no="长数〔2026〕31号",
    )
    loan = quota_loans.offer(session, local, lent)
    quota_loans.decide(session, quota, loan.loan.loan_id, DecideLoan(decision="accept", comment="同意"))
    offered = OfferLoan(
        lender=_account(session, "芙蓉区"),
        borrower=_account(session, "岳麓区"),
        amounts={"vcpus": 16},
        until=today + timedelta(days=_OFFER_DAYS),
        reason="支持岳麓区系统迁移，到期自动归还",
    )
    quota_loans.offer(session, person("frq-admin"), offered)
    raised = SetLimits(
        limits={"vcpus": 260},
        valid_until=today + timedelta(days=_TERM_DAYS),
        reason="社保年度结算期间临时增加",
        basis_no="长数〔2026〕35号",
    )
    quotas.set_limits(session, quota, _account(session, FOR_A_TIME), raised, replace=False)
    wanted = QuotaChangeRequest(
        kind="quota_change",
        account=_account(session, ASKING),
        limits={"vcpus": 200, "vcpus{arch=aarch64}": 128},
        purpose="2027 年基层卫生信息系统扩容，申请本单位配额",
        basis_no="岳卫发〔2026〕12号",
    )
    requests.submit_new(session, person("ylq-req1"), wanted)
    _hasten(session, due)


def _hasten(session: Session, request_id: uuid.UUID) -> None:
    """Let the time limit of a request run out when business ends next."""
    stage = session.exec(
        select(ApprovalStage).where(ApprovalStage.request_id == request_id, col(ApprovalStage.due_at).is_not(None))
    ).first()
    if stage is None:
        return
    calendar, now = calendar_of(session), clock.now()
    today = calendar.after_days(now, 0)
    stage.due_at = today if today > now else calendar.after_days(now, 1)
    session.add(stage)
    session.flush()


def _account(session: Session, name: str) -> uuid.UUID:
    return organizations.by_name(session, name)[0].account_id
