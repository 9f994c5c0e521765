"""Lifecycles: the tables say what may follow what, and are themselves sound."""

import pytest

from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.labels import REQUEST_PHASES, SERVER_PHASES
from cloudmgr.domain.phases import (
    EDITABLE_REQUESTS,
    HOLDING_REQUESTS,
    LIVE_SERVERS,
    NUMBER_PREFIXES,
    REQUEST_MOVES,
    SERVER_MOVES,
    RequestKind,
    RequestPhase,
    ServerPhase,
    require_request_move,
    require_server_move,
)

R, S = RequestPhase, ServerPhase


@pytest.mark.parametrize(("phases", "moves"), [(R, REQUEST_MOVES), (S, SERVER_MOVES)])
def test_every_phase_has_its_line_and_can_be_reached(phases: type, moves: dict) -> None:
    assert set(moves) == set(phases)
    reached = {next(iter(phases))}
    while more := {after for before in reached for after in moves[before]} - reached:
        reached |= more
    assert reached == set(phases)


@pytest.mark.parametrize(
    ("phases", "require", "moves", "words"),
    [(R, require_request_move, REQUEST_MOVES, REQUEST_PHASES), (S, require_server_move, SERVER_MOVES, SERVER_PHASES)],
)
def test_exactly_the_moves_of_the_table_are_allowed(phases: type, require, moves: dict, words: dict) -> None:
    for before in phases:
        for after in phases:
            if after in moves[before]:
                require(before, after)
            else:
                with pytest.raises(Conflict) as refused:
                    require(before, after)
                assert {str(each) for each in refused.value.message.params.values()} == {
                    words[before.value],
                    words[after.value],
                }


def test_ends_are_ends() -> None:
    assert {phase for phase in R if not REQUEST_MOVES[phase]} == {R.FULFILLED, R.REJECTED, R.WITHDRAWN}
    assert {phase for phase in S if not SERVER_MOVES[phase]} == {S.RETIRED}


def test_only_what_waits_for_people_can_be_withdrawn_and_only_before_approval() -> None:
    assert {phase for phase in R if R.WITHDRAWN in REQUEST_MOVES[phase]} == {
        R.DRAFT,
        R.SUBMITTED,
        R.IN_REVIEW,
        R.RETURNED,
    }
    assert {phase for phase in R if R.APPROVED in REQUEST_MOVES[phase]} == {R.IN_REVIEW}


def test_what_can_be_edited_holds_nothing() -> None:
    assert not EDITABLE_REQUESTS & HOLDING_REQUESTS


def test_a_server_is_live_until_it_is_retired() -> None:
    assert set(S) - LIVE_SERVERS == {S.RETIRED}


def test_every_kind_of_request_has_its_prefix() -> None:
    assert NUMBER_PREFIXES["create"] == "SQ"
    assert NUMBER_PREFIXES["retire"] == "ZX"
    assert {kind.value for kind in RequestKind} <= set(NUMBER_PREFIXES)
    assert NUMBER_PREFIXES["freeze"] == NUMBER_PREFIXES["unfreeze"]
    changes = {"resize", "volume", "snapshot", "ports", "public_ip"}
    assert {kind for kind, prefix in NUMBER_PREFIXES.items() if prefix == "BG"} == changes
    shared = len(changes) - 1 + 1  # the changes share one, freeze and unfreeze another
    assert len(set(NUMBER_PREFIXES.values())) == len(NUMBER_PREFIXES) - shared
