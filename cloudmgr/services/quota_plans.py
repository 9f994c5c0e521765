"""The yearly plan: limits of many accounts from one sheet, previewed cell by cell, and set all or none in one transaction."""

import uuid
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import StringConstraints
from sqlmodel import Session

import quotas
from cloudmgr.adapters import workbooks
from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import ImportRefused, InvalidInput, NotFound, Refusal
from cloudmgr.domain.messages import N_, Message
from cloudmgr.services import quotas as use_cases
from cloudmgr.services.inputs import Input, Text
from cloudmgr.services.quota_plan_sheet import (
    ACCOUNT_TITLE,
    NAME_TITLE,
    PlanError,
    PlanRow,
    PlanSheet,
    title_of,
    understood,
)
from cloudmgr.services.quotas import SetLimits
from cloudmgr.services.sheet_lines import read_lines
from quotas import parse_key

MOST_TOLD = 500
_USUAL = ("servers", "vcpus", "memory_mib", "disk_gib", "ip_addresses", "public_ips")


class PlanOptions(Input):
    """Why the limits of the sheet are set, on which document, and whether it is only tried."""

    dry_run: bool = False
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
    basis_no: Annotated[Text, StringConstraints(min_length=1, max_length=128)] | None = None


@dataclass(frozen=True, slots=True)
class PlanChange:
    """One limit that changes: in which cell, from what to what; `held` stands above `after` where growth is refused."""

    row: int
    column: str
    account_id: uuid.UUID
    name: str
    key: str
    before: int | None
    after: int | None
    held: int

    @property
    def is_below_use(self) -> bool:
        """Whether more is in use than the new limit lets in: nothing breaks, growth is refused."""
        return self.after is not None and self.held > self.after


@dataclass(slots=True)
class PlanReport:
    """What a sheet did, or would do."""

    dry_run: bool
    rows: int
    changes: list[PlanChange] = field(default_factory=list)
    errors: list[PlanError] = field(default_factory=list)


def load(session: Session, actor: Actor, content: bytes, options: PlanOptions) -> PlanReport:
    """Set the limits in a sheet (workbook or CSV), or only tell what would come of it (`dry_run`: nothing stays).

    Accounts are set from the root down; what is left empty stays; what is set already is not recorded again.

    Raises:
        ImportRefused: cells cannot be taken, and it is no dry run; `errors` names each, nothing was written.
        InvalidInput: the sheet cannot be read, or has columns that are not known.
        Forbidden: no right to set any limits.
    """
    if not actor.may(Action.QUOTA_SPLIT):
        access.require(actor, Action.QUOTA_WRITE)
    sheet = understood(read_lines(content))
    if not sheet.rows:
        raise InvalidInput(N_("The sheet has no rows."), field="rows")
    report = PlanReport(options.dry_run, len(sheet.rows), errors=list(sheet.errors))
    savepoint = session.begin_nested()
    for row, account_id in _accounts(session, sheet, report):
        _set(session, actor, sheet, row, account_id, options, report)
    report.errors.sort(key=lambda error: error.row)
    if options.dry_run or report.errors:
        savepoint.rollback()
        session.expire_all()
    else:
        savepoint.commit()
    if report.errors and not options.dry_run:
        raise ImportRefused(
            N_("{count} cells or lines of {rows} cannot be taken, and nothing was set."),
            errors=[error.as_json() for error in report.errors[:MOST_TOLD]],
            count=len(report.errors),
            rows=report.rows,
        )
    return report


def template(session: Session, actor: Actor) -> bytes:
    """Return a workbook of the accounts the actor sees with the limits that are set: to be changed and sent back.

    Raises:
        Forbidden: no right to read quotas.
    """
    views = [view for view in use_cases.get_tree(session, actor) if not view.usage.is_closed]
    limited = {key for view in views for key, limit in view.usage.limits.items() if limit is not None}
    keys = [*_USUAL, *sorted(limited - set(_USUAL))]
    rows = [
        [
            view.usage.code,
            view.usage.name,
            *("" if (limit := view.usage.limits.get(key)) is None else limit for key in keys),
        ]
        for view in views
    ]
    headers = [ACCOUNT_TITLE, NAME_TITLE, *(title_of(parse_key(key)) for key in keys)]
    return workbooks.write(headers, rows, title="配额计划", required=[True])


def _accounts(session: Session, sheet: PlanSheet, report: PlanReport) -> list[tuple[PlanRow, uuid.UUID]]:
    """Return the account of every line, those nearer to the root first; lines without one are told."""
    codes = [row.code for row in sheet.rows if row.code]
    known = quotas.accounts_by_code(session, codes)
    found: list[tuple[int, PlanRow, uuid.UUID]] = []
    for row in sheet.rows:
        accounts = known.get(row.code, [])
        if not row.code:
            words = Message(N_("The line names no account."))
        elif codes.count(row.code) > 1:
            words = Message(N_("The account {code} stands in more than one line."), {"code": row.code})
        elif len(accounts) > 1:
            words = Message(N_("More than one account has the code {code}."), {"code": row.code})
        elif not accounts:
            words = _unknown(row.code)
        else:
            found.append((accounts[0][1], row, accounts[0][0]))
            continue
        report.errors.append(PlanError(row.number, ACCOUNT_TITLE, row.code, words))
    return [(row, account_id) for _, row, account_id in sorted(found, key=lambda each: (each[0], each[1].number))]


def _set(
    session: Session,
    actor: Actor,
    sheet: PlanSheet,
    row: PlanRow,
    account_id: uuid.UUID,
    options: PlanOptions,
    report: PlanReport,
) -> None:
    if not row.amounts:
        return
    try:
        before = use_cases.get_usage(session, actor, account_id).usage
        command = SetLimits(limits=dict(row.amounts), reason=options.reason, basis_no=options.basis_no)
        use_cases.set_limits(session, actor, account_id, command, replace=False)
    except NotFound:
        report.errors.append(PlanError(row.number, ACCOUNT_TITLE, row.code, _unknown(row.code)))
        return
    except Refusal as refusal:
        report.errors += _refused(sheet, row, refusal)
        return
    report.changes += [
        PlanChange(
            row.number,
            sheet.columns[key].title,
            account_id,
            before.name,
            key,
            before.limits.get(key),
            amount,
            before.used.get(key, 0) + before.reserved.get(key, 0),
        )
        for key, amount in row.amounts.items()
        if before.limits.get(key) != amount
    ]


def _refused(sheet: PlanSheet, row: PlanRow, refusal: Refusal) -> list[PlanError]:
    """Return a refusal cell by cell where it names keys of this line, and as one for the line where not."""
    keys = [str(error["key"]) for error in refusal.errors if error.get("key") in row.amounts]
    if refusal.field and refusal.field.startswith("limits."):
        keys.append(refusal.field.removeprefix("limits."))
    told = []
    for key in dict.fromkeys(keys):
        column = sheet.columns.get(key)
        value = row.amounts.get(key)
        said = [error for error in refusal.errors if error.get("key") == key]
        told.append(
            PlanError(
                row.number,
                column.title if column else key,
                "" if value is None else str(value),
                refusal.message,
                said,
            )
        )
    return told or [PlanError(row.number, "", row.code, refusal.message, refusal.errors)]


def _unknown(code: str) -> Message:
    return Message(N_("There is no quota account {code}."), {"code": code})
