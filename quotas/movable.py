"""What of a limit may be given away, for good or for a time: amounts as asked, and what a level must keep. Writes nothing."""

from collections.abc import Mapping

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from quotas.admission import EMPTY, Balance, Level
from quotas.keys import Key
from quotas.parts import by_key


def checked(amounts: Mapping[str, int]) -> dict[Key, int]:
    """Return amounts by key as they are meant; zeros are left out.

    Raises:
        InvalidInput: a key is malformed or given twice, an amount is impossible, or nothing is left.
    """
    wanted = {key: amount for key, amount in by_key(amounts, within="amounts").items() if amount}
    if not wanted:
        raise InvalidInput(N_("Say how much goes, by key."), field="amounts")
    return wanted


def require_limited(level: Level, wanted: Mapping[Key, int]) -> None:
    """Refuse keys on which a level has no limit.

    Raises:
        InvalidInput: the first such key.
    """
    for key in wanted:
        if level.balances.get(key, EMPTY).limit is None:
            raise InvalidInput(
                N_("{account} has no limit on {key}: there is nothing to take from or to add to. Set a limit first."),
                field=f"amounts.{key}",
                account=level.name,
                key=key.describe(),
            )


def kept(held: Balance) -> int:
    """Return what of a limit may not leave besides what is used: promised below or to itself, or borrowed."""
    return max(held.used + held.reserved + held.set_aside, held.guaranteed, held.borrowed) - held.used - held.reserved
