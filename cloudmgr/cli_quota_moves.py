"""`cloudmgr quota transfer|move|merge|close|reopen|load`: rearranging quota, as the local administrator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlmodel import Session

import quotas
from cloudmgr.cli_support import CommandFailed, Place, place_of, show_json, show_table, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import quota_moves, quota_plans
from cloudmgr.services.quota_moves import CloseAccount, MergeAccounts, MoveAccount, Rearranged, TransferQuota
from cloudmgr.services.quota_plans import PlanOptions, PlanReport

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the limits and in the audit log.")]
BasisNo = Annotated[str | None, typer.Option("--basis-no", help="Number of the document it rests on.")]
_ACCOUNT = "Code of the account, as `quota show --json` tells it."


def add_to(app: typer.Typer) -> None:
    """Add these commands to `cloudmgr quota`."""
    app.command(
        epilog="Example: cloudmgr quota transfer 430102 430104 vcpus=64 memory_mib=262144 --reason 年中调剂 --basis-no 长数〔2026〕18号"
    )(transfer)
    app.command(epilog="Example: cloudmgr quota move 430102-01 430104 --reason 机构改革")(move)
    app.command(epilog="Example: cloudmgr quota merge 430102-01 430102-02 --reason 机构合并")(merge)
    app.command(epilog="Example: cloudmgr quota close 430102-01/portal --reason 系统下线")(close)
    app.command(epilog="Example: cloudmgr quota reopen 430102-01/portal --reason 恢复使用")(reopen)
    app.command(epilog="Example: cloudmgr quota load 2027.xlsx --reason 2027年度计划 --dry-run")(load)


def transfer(
    ctx: typer.Context,
    giver: Annotated[str, typer.Argument(help=_ACCOUNT)],
    taker: Annotated[str, typer.Argument(help=_ACCOUNT)],
    amounts: Annotated[list[str], typer.Argument(help="KEY=AMOUNT, such as vcpus=64.")],
    reason: Reason,
    basis_no: BasisNo = None,
    as_json: AsJson = False,
) -> None:
    """Move limits from one account to another for good."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_TRANSFER) as (session, actor):
        command = TransferQuota(
            giver=account_of(session, giver),
            taker=account_of(session, taker),
            amounts=amounts_of(amounts),
            reason=reason,
            basis_no=basis_no,
        )
        done = quota_moves.transfer(session, actor, command)
    _tell(place, done, as_json=as_json)


def move(
    ctx: typer.Context,
    account: Annotated[str, typer.Argument(help=_ACCOUNT)],
    parent: Annotated[str, typer.Argument(help="Code of the organization it is to stand under.")],
    reason: Reason,
    basis_no: BasisNo = None,
    as_json: AsJson = False,
) -> None:
    """Put an organization or information system, with all below it, under another organization."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_MOVE) as (session, actor):
        ids = {"account": account_of(session, account), "parent": account_of(session, parent)}
        done = quota_moves.move(session, actor, MoveAccount(**ids, reason=reason, basis_no=basis_no))
    _tell(place, done, as_json=as_json)


def merge(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="Code of the organization that ends.")],
    target: Annotated[str, typer.Argument(help="Code of the organization it becomes part of.")],
    reason: Reason,
    basis_no: BasisNo = None,
    as_json: AsJson = False,
) -> None:
    """Make one organization part of another, with everything below it and its limits."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_MERGE) as (session, actor):
        ids = {"source": account_of(session, source), "target": account_of(session, target)}
        done = quota_moves.merge(session, actor, MergeAccounts(**ids, reason=reason, basis_no=basis_no))
    _tell(place, done, as_json=as_json)


def close(
    ctx: typer.Context,
    account: Annotated[str, typer.Argument(help=_ACCOUNT)],
    reason: Reason,
    basis_no: BasisNo = None,
    as_json: AsJson = False,
) -> None:
    """Let an account that holds nothing take no charges any more; its limits become zero."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_CLOSE) as (session, actor):
        command = CloseAccount(reason=reason, basis_no=basis_no)
        done = quota_moves.close(session, actor, account_of(session, account), command)
    _tell(place, done, as_json=as_json)


def reopen(
    ctx: typer.Context,
    account: Annotated[str, typer.Argument(help=_ACCOUNT)],
    reason: Reason,
    basis_no: BasisNo = None,
) -> None:
    """Let a closed account take charges again; its limits stay zero until they are set."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_REOPEN) as (session, actor):
        command = CloseAccount(reason=reason, basis_no=basis_no)
        quota_moves.reopen(session, actor, account_of(session, account), command)
    place.say(N_("Account {account} is open."), account=account)


def load(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Workbook (.xlsx) or CSV: one line an account, one column a key.")],
    reason: Reason,
    basis_no: BasisNo = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the limits in a sheet, all or none; exit status 1 if a cell cannot be taken."""
    place = place_of(ctx)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandFailed(
            N_("The file {path} cannot be read: {reason}"), path=str(file), reason=error.strerror or ""
        ) from error
    options = PlanOptions(dry_run=dry_run, reason=reason, basis_no=basis_no)
    with transaction(place, event=Event.QUOTA_SET, object_name=file.name, commit=not dry_run) as (session, actor):
        report = quota_plans.load(session, actor, content, options)
    if as_json:
        show_json(_told(place, report))
    else:
        _tell_plan(place, report)
    if report.errors:
        raise typer.Exit(1)


def account_of(session: Session, code: str) -> UUID:
    """Return the quota account with a code, as `quota show` tells it."""
    found = quotas.accounts_by_code(session, [code]).get(code, [])
    if len(found) != 1:
        raise CommandFailed(
            N_("There is no quota account {code}.") if not found else N_("More than one account has the code {code}."),
            code=code,
        )
    return found[0][0]


def amounts_of(texts: Sequence[str]) -> dict[str, int]:
    """Return amounts by key of texts like vcpus=64."""
    amounts: dict[str, int] = {}
    for text in texts:
        key, _, amount = text.rpartition("=")
        if not key or not amount.isdecimal():
            raise CommandFailed(N_("{text} is no amount; write it like vcpus=64."), text=text)
        if key in amounts:
            raise CommandFailed(N_("{key} is given twice; write it once."), key=key)
        amounts[key] = int(amount)
    return amounts


def _tell(place: Place, done: Rearranged, *, as_json: bool) -> None:
    rows = [
        (each.name, str(change.key), change.before, change.after) for each in done.accounts for change in each.changes
    ]
    if as_json:
        names = ("account", "key", "before", "after")
        show_json({"limits": [dict(zip(names, row, strict=True)) for row in rows], "servers": done.servers})
        return
    _table(place, rows, (N_("account"), N_("key"), N_("before"), N_("after")))
    if done.servers:
        place.say(N_("{count} servers belong elsewhere now."), count=done.servers)
    elif not rows:
        place.say(N_("Done; no limit changed."))


def _tell_plan(place: Place, report: PlanReport) -> None:
    rows = [(each.row, each.name, each.column, each.before, each.after, each.held) for each in report.changes]
    _table(place, rows, (N_("row"), N_("account"), N_("column"), N_("before"), N_("after"), N_("in use")))
    for each in report.errors:
        message = each.message.render(place.translate)
        place.say(N_("Row {row}, {column}: {message}"), row=each.row, column=each.column or each.value, message=message)
    told: dict[str, Any] = {"changes": len(report.changes), "rows": report.rows}
    if report.dry_run:
        place.say(N_("A rehearsal: nothing was set. {changes} limits in {rows} rows would change."), **told)
    else:
        place.say(N_("{changes} limits in {rows} rows changed."), **told)


def _told(place: Place, report: PlanReport) -> dict[str, Any]:
    return {
        "dry_run": report.dry_run,
        "accepted": not report.errors,
        "rows": report.rows,
        "changes": [
            {"row": e.row, "column": e.column, "account": e.name, "key": e.key, "before": e.before, "after": e.after}
            for e in report.changes
        ],
        "errors": [
            {"row": e.row, "column": e.column, "value": e.value, "message": e.message.render(place.translate)}
            for e in report.errors
        ],
    }


def _table(place: Place, rows: Sequence[Sequence[Any]], headings: Sequence[str]) -> None:
    if rows:
        show_table(rows, [place.translate(heading) for heading in headings])
