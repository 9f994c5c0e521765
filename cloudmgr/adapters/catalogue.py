"""The playbooks that may be run, each with a schema for its variables; read from files, never from the database.

A catalogue entry is one YAML file beside the content it describes: `<content>/catalog/<name>.yml`. It starts nothing.
"""

import copy
import hashlib
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema.validators
import yaml

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_, Message

_PARTS = ("roles", "remote", "action_plugins", "library", "module_utils", "filter_plugins")
_KEYS = frozenset(
    {
        *("name", "file", "title", "description", "applies_to"),
        *("needs_approval", "frozen_in_key_period", "timeout_s", "secrets", "variables"),
    }
)


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One playbook that may be run. `title` and `description` are by language (`zh`, `en`)."""

    name: str
    path: Path
    """The playbook's file, absolute: what `run_playbook` takes."""
    title: Mapping[str, str]
    description: Mapping[str, str]
    needs_approval: bool
    frozen_in_key_period: bool
    """Not to be run in a key period (重保), when changes are frozen."""
    timeout_s: int
    variables: Mapping[str, Any] = field(repr=False)
    """JSON schema (draft 2020-12) of the variables, every property with a default."""
    applies_to: Mapping[str, Sequence[str]]
    secrets: tuple[str, ...]
    """Names of the secrets its roles may ask for."""
    digest: str
    """sha256 over the playbook, its catalogue entry and every role and module beside it: what exactly was run."""


class InvalidCatalogueError(Exception):
    """A catalogue file is not one; told to the operator at the start, not to a user."""


def packaged_catalogue() -> Path:
    """Return the folder of the entries that come with cloudmgr, also when it runs from a wheel."""
    return Path(str(importlib.resources.files("playbooks"))) / "catalog"


def load_catalogue(paths: Iterable[Path] | None = None) -> Mapping[str, CatalogueEntry]:
    """Read every entry in the folders, the packaged one when none is given; a later folder's name wins.

    Raises:
        InvalidCatalogueError: a file is not an entry, or its playbook is missing; says which and why.
    """
    entries: dict[str, CatalogueEntry] = {}
    for folder in [packaged_catalogue()] if paths is None else paths:
        for file in sorted(folder.glob("*.yml")):
            entry = _read(file)
            entries[entry.name] = entry
    return entries


def validate_variables(entry: CatalogueEntry, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables with every default filled in.

    Raises:
        InvalidInput: something breaks the schema; `errors[]` names each field with a message.
    """
    broken = sorted(
        _Validator(entry.variables).iter_errors(dict(variables)), key=lambda error: list(map(str, error.absolute_path))
    )
    findings = [finding for error in broken for finding in _findings(error)]
    if findings:
        raise InvalidInput(
            N_("The variables of playbook {name} are not right: {fields}."),
            field=f"variables.{findings[0].params['field']}",
            errors=[
                {"field": f"variables.{each.params['field']}", "rule": "invalid", "message": each} for each in findings
            ],
            name=entry.name,
            fields=", ".join(each.params["field"] for each in findings),
        )
    defaults = {name: copy.deepcopy(schema["default"]) for name, schema in entry.variables["properties"].items()}
    return defaults | dict(variables)


def content_digest(content: Path, playbook: Path, entry: Path) -> str:
    """Return the sha256 over names and bytes of everything a run of this playbook may use."""
    files = {playbook, entry}
    for part in _PARTS:
        files |= {file for file in (content / part).rglob("*") if file.is_file() and "__pycache__" not in file.parts}
    digest = hashlib.sha256()
    for file in sorted(files):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(content).as_posix()}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


_OTHER = N_("{field}: {said}")
_TEMPLATES = {
    "additionalProperties": N_("{field}: this playbook has no variable of that name."),
    "type": N_("{field}: must be of type {wanted}."),
    "pattern": N_("{field}: is not written in the allowed form."),
    "minimum": N_("{field}: must be at least {wanted}."),
    "maximum": N_("{field}: must be at most {wanted}."),
    "minLength": N_("{field}: must have at least {wanted} characters."),
    "maxLength": N_("{field}: must have at most {wanted} characters."),
    "minItems": N_("{field}: must have at least {wanted} entries."),
    "maxItems": N_("{field}: must have at most {wanted} entries."),
    "required": N_("{field}: is missing."),
}


def _findings(error: jsonschema.ValidationError) -> list[Message]:
    """Return one message a field: JSON Schema reports all missing and all unknown names of an object together."""
    rule = str(error.validator)
    given: Any = error.instance
    wanted: Any = error.validator_value
    where = [str(part) for part in error.absolute_path]
    names: list[str] = []
    if rule == "required":
        names = [name for name in wanted if name not in given and f"'{name}'" in error.message]
    elif rule == "additionalProperties" and wanted is False and isinstance(error.schema, Mapping):
        names = sorted(str(name) for name in given if name not in error.schema.get("properties", {}))
    fields = [".".join([*where, name]) for name in names] or [".".join(where)]
    told = {
        "wanted": " / ".join(wanted) if rule == "type" and isinstance(wanted, list) else wanted,
        "said": error.message[:300],
    }
    return [Message(_TEMPLATES.get(rule, _OTHER), {"field": field, **told}) for field in fields]


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Match as JSON Schema means it: Python's `$` would let a final line feed through, into a configuration file."""
    if isinstance(instance, str) and (instance.endswith("\n") or not re.search(pattern, instance)):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _pattern}
)


def _read(file: Path) -> CatalogueEntry:
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidCatalogueError(f"{file}: {error}") from error
    if not isinstance(told, dict) or told.keys() != _KEYS:
        raise InvalidCatalogueError(f"{file}: an entry has exactly the keys {', '.join(sorted(_KEYS))}")
    content = file.parent.parent
    path = (content / told["file"]).resolve()
    if not path.is_file() or not path.is_relative_to(content.resolve()):
        raise InvalidCatalogueError(f"{file}: there is no playbook {told['file']} beside its folder")
    schema = told["variables"]
    try:
        jsonschema.Draft202012Validator.check_schema(_without_titles(schema))
    except jsonschema.SchemaError as error:
        raise InvalidCatalogueError(f"{file}: variables: {error.message}") from error
    if schema.get("additionalProperties") is not False or any(
        "default" not in each for each in schema["properties"].values()
    ):
        raise InvalidCatalogueError(f"{file}: variables need additionalProperties: false, and a default each")
    return CatalogueEntry(
        name=told["name"],
        path=path,
        title=told["title"],
        description=told["description"],
        needs_approval=told["needs_approval"],
        frozen_in_key_period=told["frozen_in_key_period"],
        timeout_s=told["timeout_s"],
        variables=schema,
        applies_to=told["applies_to"],
        secrets=tuple(told["secrets"]),
        digest=content_digest(content.resolve(), path, file.resolve()),
    )


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema for checking: its titles and descriptions are by language, which JSON Schema does not know."""
    properties = {
        name: {key: value for key, value in each.items() if key not in ("title", "description")}
        for name, each in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}
