"""What setting limits would bring about, in words."""

from cloudmgr.domain.messages import N_
from cloudmgr.services.quotas import Over
from web import formats
from web.rendering import Words

_CONSEQUENCES = {
    "use_above": N_("{account}: {amount} {key} are in use, {over} more than {limit}; every growth is refused."),
    "children_above": N_("{account}: {amount} {key} are allotted below, {over} more than {limit}."),
    "promised_above": N_("{account}: {amount} {key} would be allotted below, {over} more than its {limit}."),
    "room_missing": N_(
        "{account}: {amount} {key} could be asked for, and {limit} are left here; {over} would be refused."
    ),
}


def consequence(words: Words, found: Over) -> str:
    """Say who would be over, for which key, and by how much."""
    return words.translate(
        _CONSEQUENCES[found.consequence.value],
        account=found.name,
        key=words.key_label(found.key),
        limit=formats.amount(found.limit, found.key),
        amount=formats.amount(found.amount, found.key),
        over=formats.amount(found.over, found.key),
    )
