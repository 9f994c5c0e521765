"""`cloudmgr quota`: the tree, and the proof that the ledger is right."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cloudmgr import cli_quota_loan, cli_quota_moves
from cloudmgr.cli_support import CommandFailed, Place, place_of, show_json, show_table, transaction
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import quota_proofs, quotas
from cloudmgr.services.quotas import AccountView
from cloudmgr.store import organizations

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
cli_quota_moves.add_to(app)
app.add_typer(cli_quota_loan.app, name="loan")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def quota() -> None:
    """Show the quota tree, and prove the ledger."""


@app.command(epilog="Example: cloudmgr quota verify --json   # exit status 1 when a number is wrong")
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Recount every balance from the entries and from what is held, and compare."""
    place = place_of(ctx)
    with transaction(place, event=Event.QUOTA_VERIFY) as (session, actor):
        found = quota_proofs.verify_now(session, actor)
    if as_json:
        counts = {"accounts": found.accounts, "entries": found.entries, "things": found.things}
        ok = not found.mismatch_count
        show_json({"ok": ok, "at": found.finished_at, "checked": counts, "mismatches": found.mismatches})
    else:
        place.say(
            N_("Recounted {accounts} accounts and {entries} entries: {wrong} numbers are wrong."),
            accounts=found.accounts,
            entries=found.entries,
            wrong=found.mismatch_count,
        )
        _show_wrong(place, found.mismatches)
    if found.mismatch_count:
        raise typer.Exit(1)


@app.command(epilog="Example: cloudmgr quota repair --from-ledger --reason 'disk fault of 3 May' --yes")
def repair(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit log.")],
    from_ledger: Annotated[
        bool, typer.Option("--from-ledger", help="Set balances and limits to what the entries say.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set wrong balances right from the entries, and prove the whole ledger in the same transaction."""
    place = place_of(ctx)
    if not from_ledger:
        raise CommandFailed(N_("Say --from-ledger: the entries are the only source a balance is repaired from."))
    if not yes:
        with transaction(place, commit=False) as (session, _):
            wrong = quota_proofs.recount(session).rows
        _show_wrong(place, wrong)
        question = place.translate(N_("{count} numbers are wrong. Set balances and limits to what the entries say?"))
        typer.confirm(question.format(count=len(wrong)), abort=True, err=True)
    with transaction(place, event=Event.QUOTA_REPAIR) as (session, actor):
        repaired = [asdict(each) for each in quota_proofs.repair(session, actor, reason=reason)]
    if as_json:
        show_json({"repaired": repaired})
    else:
        place.say(N_("Numbers repaired: {count}. The ledger was recounted and balances."), count=len(repaired))


def _show_wrong(place: Place, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        headings = (N_("account"), N_("key"), N_("column"), N_("recorded"), N_("recounted"), N_("source"))
        names = ("name", "key", "column", "recorded", "recounted", "source")
        show_table([tuple(row[name] for name in names) for row in rows], [place.translate(each) for each in headings])


@app.command(epilog="Example: cloudmgr quota show 430102 --depth 1")
def show(
    ctx: typer.Context,
    organization: Annotated[
        str, typer.Argument(help="Code of the organization to begin at; the root if left out.")
    ] = "",
    depth: Annotated[int | None, typer.Option(help="Levels below it; all if left out.", min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Show limits, use and room by account and key."""
    place = place_of(ctx)
    with transaction(place, commit=False) as (session, actor):
        root = None
        if organization:
            found = organizations.by_code(session, organization)
            if found is None:
                raise CommandFailed(N_("There is no organization with the code {code}."), code=organization)
            root = found.account_id
        views = quotas.get_tree(session, actor, root, depth)
    if as_json:
        show_json([_told(view) for view in views])
        return
    top = min((view.usage.depth for view in views), default=0)
    rows = [
        ("  " * (view.usage.depth - top) + view.usage.name, key, limit, *_numbers(view, key))
        for view in views
        for key, limit in view.usage.limits.items()
    ]
    headings = (N_("account"), N_("key"), N_("limit"), N_("used"), N_("reserved"), N_("room"), N_("limits below"))
    show_table(rows, [place.translate(heading) for heading in headings])


def _numbers(view: AccountView, key: str) -> tuple[Any, ...]:
    usage = view.usage
    return usage.used[key], usage.reserved[key], usage.room.get(key), usage.children_limit_sum.get(key)


def _told(view: AccountView) -> dict[str, Any]:
    usage = view.usage
    return {
        "account": usage.account_id,
        "parent": usage.parent_id,
        "code": usage.code,
        "name": usage.name,
        "kind": view.kind,
        "depth": usage.depth,
        "limits": dict(usage.limits),
        "used": dict(usage.used),
        "reserved": dict(usage.reserved),
        "available": dict(usage.available),
        "room": dict(usage.room),
        "children_limits": dict(usage.children_limit_sum),
    }
