"""Approval policies and deputies for their pages."""

import uuid
from dataclasses import dataclass
from datetime import date

from sqlmodel import Session

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.approval import OnTimeout, Rule, SeatRule, StageRule, When
from cloudmgr.domain.messages import N_
from cloudmgr.services import approval_policy
from cloudmgr.services.deputies import DeputyRow
from web import formats
from web.rendering import Words

_VOCABULARY = {
    "kinds": "request_kind",
    "own_quota": "own_quota",
    "archs": "architecture",
    "mlps_levels": "mlps_level",
    "envs": "environment",
}


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of a rule."""

    name: str
    who: str
    mode: str
    sla: int | None
    late: str
    """What happens when its time is over."""


@dataclass(frozen=True, slots=True)
class RuleLine:
    """One rule."""

    name: str
    conditions: list[tuple[str, str]]
    stages: list[StageLine]


@dataclass(frozen=True, slots=True)
class DeputyLine:
    """One deputyship."""

    id: uuid.UUID
    absent: str
    deputy: str
    valid_from: date
    valid_until: date
    reason: str
    may_end: bool


def rule_line(words: Words, rule: Rule) -> RuleLine:
    """Arrange one rule."""
    return RuleLine(rule.name, _conditions(words, rule.when), [_stage(words, stage) for stage in rule.stages])


def deputy_line(row: DeputyRow, *, may_end: bool) -> DeputyLine:
    """Arrange one deputyship."""
    found, absent, deputy = row
    return DeputyLine(
        found.id,
        absent.display_name,
        deputy.display_name,
        found.valid_from,
        found.valid_until,
        found.reason,
        may_end,
    )


def banner(words: Words, session: Session, actor: Actor) -> list[str]:
    """Say, to those who decide and those who could load another, that the policy in force has expired."""
    if not any(actor.may(action) for action in (Action.REQUEST_DECIDE, Action.CATALOGUE_WRITE, Action.QUOTA_WRITE)):
        return []
    found = approval_policy.in_force(session)
    if not found.is_expired:
        return []
    day = formats.day(found.policy.valid_until)
    return [
        words.translate(
            N_("The approval policy {version} expired on {day} and stays in force; load the next one."),
            version=found.policy.version,
            day=day,
        )
    ]


def _conditions(words: Words, when: When) -> list[tuple[str, str]]:
    lines = []
    for name, value in when.told().items():
        if isinstance(value, dict):
            told = words.joined(
                [f"{words.key_label(key)} ≥ {formats.amount(least, key)}" for key, least in value.items()]
            )
        elif isinstance(value, bool):
            told = words.label("yes_no", str(value).lower())
        else:
            told = words.joined(
                [words.label(_VOCABULARY[name], each) if name in _VOCABULARY else each for each in value]
            )
        lines.append((words.label("policy_condition", name), told))
    return lines


def _stage(words: Words, stage: StageRule) -> StageLine:
    return StageLine(
        words.translate(stage.name),
        words.joined([_seat(words, seat) for seat in stage.seats]),
        words.label("approval_mode", stage.mode) if len(stage.seats) > 1 else "",
        stage.sla_working_days,
        _late(words, stage),
    )


def _late(words: Words, stage: StageRule) -> str:
    if stage.sla_working_days is None:
        return ""
    told = []
    if stage.escalate_after_working_days is not None:
        told.append(
            words.translate(
                N_("{days} working days after it is due, the level above decides too"),
                days=stage.escalate_after_working_days,
            )
        )
    if stage.on_timeout is not OnTimeout.NONE:
        told.append(words.translate(N_("on timeout: {deed}"), deed=words.label("on_timeout", stage.on_timeout)))
    return words.joined(told)


def _seat(words: Words, seat: SeatRule) -> str:
    return seat.person or f"{words.label('approval_level', seat.level)} · {words.label('role', seat.role)}"
