"""The words for what a recount of the ledger finds wrong: which number, and what does not bear it out."""

from collections.abc import Mapping

from cloudmgr.domain.messages import N_

RECOUNT_COLUMNS: Mapping[str, str] = {
    "used": N_("Used"),
    "reserved": N_("Held"),
    "limit": N_("Limit"),
    "guaranteed": N_("Guaranteed"),
    "set_aside": N_("Kept free for those below"),
    "borrowed": N_("On loan"),
    "pending": N_("Held"),
    "posted": N_("Used"),
    "released": N_("Given back"),
    "voided": N_("No longer held"),
    "none": N_("No share"),
}
RECOUNT_SOURCES: Mapping[str, str] = {
    "entries": N_("Ledger entries"),
    "parts": N_("What is held"),
    "guarantees": N_("Guarantees"),
    "loans": N_("Quota loans"),
    "server": N_("Server"),
    "volume": N_("Volume"),
    "snapshot": N_("Snapshot"),
    "public_ip": N_("Public IP address"),
    "nothing": N_("Nothing that stands"),
}
