"""The request form: what was typed, as the body the API takes; and the choices its lists offer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cloudmgr.domain import clock
from cloudmgr.domain.access import Action
from cloudmgr.domain.leases import last_day
from cloudmgr.domain.phases import Environment, PurposeKind, Spread
from cloudmgr.services import catalogue, projects
from cloudmgr.services.projects import ProjectFilter
from web import formats, port_lines
from web.desk import Desk
from web.forms import lines, row_indices, text_of, whole
from web.lists import every

Choices = list[tuple[str, str]]
_PLAIN = (
    "project",
    "purpose",
    "env",
    "network_zone",
    "lease_end",
    "lease_reason",
    "emergency_reason",
    "exclusive_reason",
    "funding_source",
    "priority",
)
_ROW = ("name", "flavor", "image", "arch", "purpose_kind", "spread", "backend", "network_zone", "playbook")
_HIDDEN = "variables"
"""Of a group: what a playbook is given, as JSON. The form shows none of it and keeps what was sent otherwise."""
_ROW_NUMBERS = ("count", "data_disk_gib")
_ROW_NETWORK = ("ipv4", "ipv6", "addresses", "ports")
DEFAULTS = {"count": "1", "purpose_kind": "other", "spread": "host", "data_disk_gib": "0"}
"""What a group is where a request says nothing of it."""
_MOST = 200


@dataclass(frozen=True, slots=True)
class FormChoices:
    """What the form's lists offer, as plain text."""

    projects: Choices
    environments: Choices
    network_zones: Choices
    flavors: Choices
    images: Choices
    architectures: Choices
    purposes: Choices
    spreads: Choices
    backends: Choices
    priorities: Choices
    needs_funding: bool
    first_day: str
    last_day: str


def choices(desk: Desk) -> FormChoices:
    """Read everything that can be chosen by this reader."""
    session, actor, label = desk.session, desk.actor, desk.words.label
    own = every(lambda at: projects.list_projects(session, actor, ProjectFilter(), limit=_MOST, cursor=at))
    mine = [view for view in own if view.project.is_active and actor.may(Action.REQUEST_MAKE, view.organization.path)]
    zones = every(lambda at: catalogue.list_zones(session, actor, limit=_MOST, cursor=at))
    flavors = every(lambda at: catalogue.list_flavors(session, actor, limit=_MOST, cursor=at))
    images = every(lambda at: catalogue.list_images(session, actor, limit=_MOST, cursor=at))
    network_zones = every(lambda at: catalogue.list_network_zones(session, actor, limit=_MOST, cursor=at))
    backends = every(lambda at: catalogue.list_backends(session, actor, limit=_MOST, cursor=at))
    today = clock.today()
    return FormChoices(
        projects=sorted(
            ((str(view.project.id), f"{view.organization.name} · {view.project.name}") for view in mine), key=lambda pair: pair[1]
        ),
        environments=[(each, label("environment", each)) for each in Environment],
        network_zones=[(zone.name, zone.name if desk.language == "zh_CN" else zone.name_en or zone.name) for zone in network_zones if zone.is_active],
        flavors=[
            (flavor.name, f"{flavor.name} ({flavor.vcpus} vCPU, {formats.amount(flavor.memory_mib, 'memory_mib')})")
            for flavor in sorted(flavors, key=lambda each: (each.vcpus, each.memory_mib))
            if flavor.is_active
        ],
        images=sorted(
            (view.image.name, f"{view.image.title} ({', '.join(sorted({each.arch for each in view.variants}))})")
            for view in images
            if view.image.is_active and view.variants
        ),
        architectures=[(arch, label("architecture", arch)) for arch in sorted({view.zone.arch for view in zones})],
        purposes=[(each, label("purpose_kind", each)) for each in PurposeKind],
        spreads=[(each, label("spread", each)) for each in Spread],
        backends=[(view.backend.name, view.backend.title or view.backend.name) for view in backends if view.backend.is_enabled],
        priorities=[(each, label("priority", each)) for each in ("normal", "high")],
        needs_funding=desk.settings.policy.funding_source_required,
        first_day=formats.day(today + timedelta(days=1)),
        last_day=formats.day(last_day(today, desk.settings.policy.lease_max_days)),
    )  # fmt: skip


def body(typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of a create request; what was left empty is left out and takes its default."""
    payload: dict[str, Any] = {"kind": "create", **text_of(typed, *_PLAIN)}
    if typed.get("lease_long_term"):
        payload["lease_long_term"] = True
        payload.pop("lease_end", None)
    payload |= {name: True for name in ("emergency", "exclusive") if typed.get(name)}
    owner = {
        name: typed[f"owner.{name}"].strip() for name in ("name", "phone") if typed.get(f"owner.{name}", "").strip()
    }
    if owner:
        payload["owner"] = owner
    if keys := lines(typed.get("ssh_keys", "")):
        payload["ssh_keys"] = keys
    payload["servers"] = [_row(typed, f"servers[{index}].") for index in row_indices(typed, "servers")]
    return payload


def _row(typed: Mapping[str, str], at: str) -> dict[str, Any]:
    row: dict[str, Any] = {name: typed[at + name].strip() for name in _ROW if typed.get(at + name, "").strip()}
    row |= {name: whole(typed[at + name]) for name in _ROW_NUMBERS if typed.get(at + name, "").strip()}
    if variables := typed.get(at + _HIDDEN, ""):
        row[_HIDDEN] = _read(variables)
    if ports := port_lines.parse(typed.get(at + "ports", "")):
        row["ports"] = ports
    return row | _addresses(typed.get(at + "ipv4", ""), typed.get(at + "ipv6", ""))


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _addresses(ipv4: str, ipv6: str) -> dict[str, Any]:
    """Return the addresses that were chosen: for one server by family, for more a line each, in the order typed."""
    chosen = {
        name: text.replace(",", " ").replace("，", " ").split()[:_MOST]
        for name, text in (("ipv4", ipv4), ("ipv6", ipv6))
    }
    count = max(map(len, chosen.values()))
    each = [{name: texts[at] for name, texts in chosen.items() if at < len(texts)} for at in range(count)]
    return {"addresses": each} if count > 1 else each[0] if each else {}


def shown_fields(rows: list[int]) -> list[str]:
    """Return the names of the fields the form shows, for sorting refusals onto them."""
    fixed = [
        "project",
        "purpose",
        "env",
        "network_zone",
        "lease_end",
        "lease_long_term",
        "lease_reason",
        "emergency",
        "emergency_reason",
        "exclusive",
        "exclusive_reason",
        "funding_source",
        "priority",
    ]
    fixed += ["owner.name", "owner.phone", "ssh_keys", "servers"]
    return fixed + [f"servers[{row}].{name}" for row in rows for name in (*_ROW, *_ROW_NUMBERS, *_ROW_NETWORK)]


def renumbered(typed: Mapping[str, str], *, without: int | None = None) -> dict[str, str]:
    """Return the form with its rows numbered 0, 1, 2 …, one left out: positions and field names agree again."""
    kept = [index for index in row_indices(typed, "servers") if index != without]
    values = {name: value for name, value in typed.items() if not name.startswith("servers[")}
    for new, old in enumerate(kept):
        at = f"servers[{old}]."
        values |= {f"servers[{new}].{name[len(at) :]}": value for name, value in typed.items() if name.startswith(at)}
    return values


def with_new_row(values: Mapping[str, str]) -> dict[str, str]:
    """Return the form with one more group, filled with the usual."""
    index = len(row_indices(values, "servers"))
    at = f"servers[{index}]."
    usual = DEFAULTS | {"name": "", "purpose_kind": "app"}
    return {**values, **{at + name: value for name, value in usual.items()}}


def changed_body(body: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """Return a stored body with what an approver would have otherwise: numbers, flavors, data disks, the end of the lease."""
    entries = []
    for index, entry in enumerate(body.get("servers") or []):
        new = {name: typed.get(f"entry.{index}.{name}", "").strip() for name in ("count", "flavor", "data_disk_gib")}
        entries.append(
            dict(entry) | {name: whole(text) if name != "flavor" else text for name, text in new.items() if text}
        )
    lease = {"lease_end": typed["change_lease_end"]} if typed.get("change_lease_end") else {}
    return {**body, **lease, "servers": entries}
