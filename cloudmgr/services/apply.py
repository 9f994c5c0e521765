"""Applying a file of organizations, projects, catalogue and quotas: the same file twice changes nothing the second time.

Everything goes through the ordinary use cases, so each change obeys their rules and is audited like any other. Nothing is
ever removed by leaving it out of a file.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Forbidden, InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.services import audit
from cloudmgr.services.apply_catalogue import CatalogueApplier
from cloudmgr.services.apply_file import ApplyFile
from cloudmgr.services.apply_report import ApplyRefused, ApplyReport, Findings
from cloudmgr.services.apply_tree import PROVISIONAL_ROOT, TreeApplier

__all__ = ["PROVISIONAL_ROOT", "ApplyRefused", "ApplyReport", "apply_document", "read_document"]

MAX_BYTES = 16 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """YAML that refuses the same key twice, which YAML 1.2 §3.2.1.3 forbids and PyYAML lets pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        _require_distinct(keys)
        return super().construct_mapping(node, deep=deep)


def read_document(path: Path) -> dict[str, Any]:
    """Read a file as YAML, or as JSON where its name ends so; return its sections.

    Raises:
        InvalidInput: it cannot be read, is too large, is not valid, or is not a mapping; the message says where.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(N_("{path} is larger than {most} MiB."), path=str(path), most=MAX_BYTES // 1024 // 1024)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(N_("{path} cannot be read: {error}"), path=str(path), error=str(error)) from error
    try:
        if path.suffix.lower() == ".json":
            document = json.loads(text, object_pairs_hook=_distinct)
        else:
            document = yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader
    except (ValueError, yaml.YAMLError) as error:
        raise InvalidInput(N_("{path} is not valid: {error}"), path=str(path), error=str(error)) from error
    if not isinstance(document, dict):
        raise InvalidInput(N_("{path} has no sections; see docs/apply.md for its form."), path=str(path))
    return document


def apply_document(session: Session, actor: Actor, document: Mapping[str, Any], *, source: str) -> ApplyReport:
    """Bring the database to what the document says and report it; `source` names it in reasons and records.

    Runs in the caller's transaction: to rehearse, roll it back.

    Raises:
        ApplyRefused: some entries break rules; all of them are told, and the caller must roll back.
        Forbidden: the actor is not at this machine's command line.
    """
    if not actor.is_local:
        raise Forbidden(N_("Files are applied at the command line of the server only."))
    try:
        file = ApplyFile.model_validate(dict(document))
    except ValidationError as error:
        raise ApplyRefused([], list(error.errors(include_url=False, include_input=False))) from error
    report, findings = ApplyReport(), Findings(document)
    tree = TreeApplier(session, actor, report, findings, source)
    catalogue = CatalogueApplier(session, actor, report, findings, tree)
    catalogue.dictionary(file)
    tree.run(file)
    catalogue.run(file)
    tree.projects("systems", file.systems)
    tree.projects("projects", file.projects)
    tree.quotas(file.quotas)
    findings.raise_if_any()
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
    audit.record(
        session,
        actor,
        Event.SYSTEM_APPLY,
        object_type="file",
        object_name=source[:200],
        sha256=digest,
        counts=report.as_json(),
    )
    return report


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _require_distinct([key for key, _ in pairs])
    return dict(pairs)


def _require_distinct(keys: list[Any]) -> None:
    twice = sorted({str(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the same key stands twice: {', '.join(twice)}")
