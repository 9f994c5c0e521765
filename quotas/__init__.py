"""The quota ledger: accounts, limits, reservations, entries, prover. Knows no clouds, no users, no projects.

Every function takes a session, runs in the caller's transaction and never commits.
"""

from quotas.accounts import Account, ancestors_of, create_account, get_account, rename_account
from quotas.holdings import HeldPart, PartState, Reservation
from quotas.keys import DIMENSIONS, PLACEMENT_DIMENSIONS, Key, format_key, parse_key
from quotas.limits import LimitChange, set_limits
from quotas.parts import MAX_AMOUNT, MAX_PARTS, Part
from quotas.prover import Mismatch, Verification, verify
from quotas.refusals import Binding, LedgerError, LimitOmitted, QuotaExceeded, RootLimitRequired
from quotas.reservations import adopt, get_reservation, place, post, release, reserve, resize, unplace, void
from quotas.usage import AccountUsage, Preview, PreviewKey, PreviewLevel, account_usage, preview, tree

__all__ = [
    "DIMENSIONS",
    "MAX_AMOUNT",
    "MAX_PARTS",
    "PLACEMENT_DIMENSIONS",
    "Account",
    "AccountUsage",
    "Binding",
    "HeldPart",
    "Key",
    "LedgerError",
    "LimitChange",
    "LimitOmitted",
    "Mismatch",
    "Part",
    "PartState",
    "Preview",
    "PreviewKey",
    "PreviewLevel",
    "QuotaExceeded",
    "Reservation",
    "RootLimitRequired",
    "Verification",
    "account_usage",
    "adopt",
    "ancestors_of",
    "create_account",
    "format_key",
    "get_account",
    "get_reservation",
    "parse_key",
    "place",
    "post",
    "preview",
    "release",
    "rename_account",
    "reserve",
    "resize",
    "set_limits",
    "tree",
    "unplace",
    "verify",
    "void",
]
