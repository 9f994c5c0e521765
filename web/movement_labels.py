"""The words for what moves quota, one for each kind of entry in the ledger."""

from collections.abc import Mapping

from cloudmgr.domain.messages import N_

QUOTA_MOVEMENTS: Mapping[str, str] = {
    "limit_set": N_("Limit set"),
    "guarantee_set": N_("Guarantee set"),
    "open": N_("Counted from here on"),
    "reserve": N_("Held for a request"),
    "adopt": N_("Taken over"),
    "post": N_("Put into use"),
    "place": N_("Pool chosen"),
    "unplace": N_("Pool given up"),
    "resize": N_("Another size"),
    "void": N_("No longer held"),
    "release": N_("Given back"),
    "move": N_("Account moved"),
    "merge": N_("Accounts merged"),
}
