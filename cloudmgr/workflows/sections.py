"""What every `[[backends]]` section says to us: its own keys, checked before a worker believes them. Opens nothing."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlmodel import Session, col, select

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Tier
from cloudmgr.models import NetworkZone, Organization
from cloudmgr.services.backends import BackendName, Datacenter, OfflineHours, ProviderName, Title

Code = Annotated[str, Field(min_length=1, max_length=64)]


class SharedOptions(BaseModel):
    """The keys that are ours, of whatever driver; meanings in docs/operating.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: BackendName
    provider: ProviderName
    datacenter: Datacenter
    tier: Tier = Tier.CITY
    title: Title = ""
    vendor: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    owner: Code | None = None
    shared_with: tuple[Code, ...] = ()
    network_zones: dict[str, str] = Field(default_factory=dict)
    overcommit: dict[str, Annotated[int, Field(ge=1, le=10000)]] = Field(default_factory=dict)
    expected_offline_hours: OfflineHours = 0


SHARED_KEYS = frozenset(SharedOptions.model_fields)
"""Keys of a `[[backends]]` section that are ours; all others are the driver's own options."""


def shared_of(section: Mapping[str, Any]) -> SharedOptions:
    """Return what a section says to us; the driver's own options are left to the driver.

    Raises:
        ValidationError: something in it is missing or not acceptable.
    """
    return SharedOptions.model_validate({key: value for key, value in section.items() if key in SHARED_KEYS})


def require_good(section: Mapping[str, Any]) -> None:
    """Refuse a section that no worker could take up.

    Raises:
        InvalidInput: naming the backend and the keys at fault.
    """
    try:
        shared_of(section)
    except ValidationError as error:
        raise InvalidInput(
            N_(
                "The settings of cloud {backend} are not acceptable: {keys}. `cloudmgr config check` says what is wrong."
            ),
            backend=str(section.get("name", "-")),
            keys=", ".join(str(each["loc"][0]) for each in error.errors(include_url=False, include_input=False)),
        ) from None


def unknown_organizations(session: Session, options: SharedOptions) -> list[str]:
    """Return the codes under `owner` and `shared_with` that no organization has."""
    asked = [code for code in (options.owner, *options.shared_with) if code is not None]
    known = set(session.exec(select(Organization.code).where(col(Organization.code).in_(asked))))
    return [code for code in asked if code not in known]


def unknown_network_zones(session: Session, options: SharedOptions) -> list[str]:
    """Return the names under `network_zones` that the dictionary does not have."""
    known = set(session.exec(select(NetworkZone.name)))
    return sorted(set(options.network_zones.values()) - known)
