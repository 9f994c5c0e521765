"""The quota ledger: accounts, limits, reservations, entries, prover. Knows no clouds, no users, no projects.

Every function takes a session, runs in the caller's transaction and never commits (but `reserve_along`, if it is told to).
"""

from quotas.accounts import (
    Account,
    accounts_by_code,
    ancestors_of,
    create_account,
    get_account,
    lock_tree,
    rename_account,
)
from quotas.allocation import Allotment, Changes, OverAllotted, require_allotment
from quotas.explain import Consequence, Finding, what_if
from quotas.guarantees import GuaranteeChange, set_guarantees
from quotas.holdings import HeldPart, PartState, Reservation
from quotas.holds import Hold, held_since_below, holds_below, pending_of
from quotas.keys import DIMENSIONS, PLACEMENT_DIMENSIONS, Key, format_key, parse_key
from quotas.limits import LimitChange, require_settable, set_limits
from quotas.loan_books import Loan, LoanAmount, all_loans, changes_of, count_loans, get_loan, lent
from quotas.loans import (
    accept_loan,
    due_loans,
    end_offer,
    offer_loan,
    return_loan,
    settle_loan,
)
from quotas.moves import Merge, close_account, lock_accounts, merge_accounts, move_account, reopen_account
from quotas.outlasting import LoanEndsFirst, Outlived, outliving, require_outlasting
from quotas.parts import MAX_AMOUNT, MAX_PARTS, Part
from quotas.prover import Mismatch, Verification, verify
from quotas.quick import Along, reserve_along
from quotas.refusals import (
    Binding,
    GuaranteeRefused,
    LedgerError,
    LimitInUse,
    LimitOmitted,
    QuotaExceeded,
    RootLimitRequired,
)
from quotas.repair import SourcesDisagree, repair_from_entries
from quotas.reservations import adopt, get_reservation, place, post, release, reserve, resize, unplace, void
from quotas.targets import SHARES, Target, set_target, targets_of
from quotas.terms import Term, TermTurn, apply_term, cancel_term, due_terms, set_terms, terms_of
from quotas.transfers import AccountChange, Transfer, sides, transfer
from quotas.usage import AccountUsage, Preview, PreviewKey, PreviewLevel, account_usage, drawn_from_above, preview, tree
from quotas.warnings import QuotaWarning, must_note, note_crossings, standing

__all__ = [
    "DIMENSIONS",
    "MAX_AMOUNT",
    "MAX_PARTS",
    "PLACEMENT_DIMENSIONS",
    "SHARES",
    "Account",
    "AccountChange",
    "AccountUsage",
    "Allotment",
    "Along",
    "Binding",
    "Changes",
    "Consequence",
    "Finding",
    "GuaranteeChange",
    "GuaranteeRefused",
    "HeldPart",
    "Hold",
    "Key",
    "LedgerError",
    "LimitChange",
    "LimitInUse",
    "LimitOmitted",
    "Loan",
    "LoanAmount",
    "LoanEndsFirst",
    "Merge",
    "Mismatch",
    "Outlived",
    "OverAllotted",
    "Part",
    "PartState",
    "Preview",
    "PreviewKey",
    "PreviewLevel",
    "QuotaExceeded",
    "QuotaWarning",
    "Reservation",
    "RootLimitRequired",
    "SourcesDisagree",
    "Target",
    "Term",
    "TermTurn",
    "Transfer",
    "Verification",
    "accept_loan",
    "account_usage",
    "accounts_by_code",
    "adopt",
    "all_loans",
    "ancestors_of",
    "apply_term",
    "cancel_term",
    "changes_of",
    "close_account",
    "count_loans",
    "create_account",
    "drawn_from_above",
    "due_loans",
    "due_terms",
    "end_offer",
    "format_key",
    "get_account",
    "get_loan",
    "get_reservation",
    "held_since_below",
    "holds_below",
    "lent",
    "lock_accounts",
    "lock_tree",
    "merge_accounts",
    "move_account",
    "must_note",
    "note_crossings",
    "offer_loan",
    "outliving",
    "parse_key",
    "pending_of",
    "place",
    "post",
    "preview",
    "release",
    "rename_account",
    "reopen_account",
    "repair_from_entries",
    "require_allotment",
    "require_outlasting",
    "require_settable",
    "reserve",
    "reserve_along",
    "resize",
    "return_loan",
    "set_guarantees",
    "set_limits",
    "set_target",
    "set_terms",
    "settle_loan",
    "sides",
    "standing",
    "targets_of",
    "terms_of",
    "transfer",
    "tree",
    "unplace",
    "verify",
    "void",
    "what_if",
]
