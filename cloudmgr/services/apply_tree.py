"""Applying organizations, projects and quotas: finds each by code or name, makes or changes it by the ordinary use cases."""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlmodel import Session

import quotas as ledger
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import DISTRICT_KINDS, OrganizationKind
from cloudmgr.models import Organization
from cloudmgr.services import organizations as use_cases
from cloudmgr.services import project_keys, projects, quotas
from cloudmgr.services.apply_file import ApplyFile, DepartmentEntry, OrganizationEntry, ProjectEntry, QuotaEntry
from cloudmgr.services.apply_report import ApplyReport, Findings, upsert
from cloudmgr.store import facts
from cloudmgr.store import organizations as organization_store
from cloudmgr.store import projects as project_store

PROVISIONAL_ROOT = "ROOT"
"""Code of a root that `init` made without being told one; the first file that has a root gives it its own."""
_CITY_DEPARTMENT = "市"
_TITLE_IN_BRACKETS = re.compile(r"[（(].*[)）]$")


@dataclass(slots=True)
class TreeApplier:
    """One apply's view of the tree, kept current while it grows."""

    session: Session
    actor: Actor
    report: ApplyReport
    findings: Findings
    source: str
    known: dict[str, Organization] = field(default_factory=dict)

    def run(self, file: ApplyFile) -> None:
        """Apply organizations, then departments; projects and quotas have their own calls, as other things come between."""
        self.known = {each.code: each for each in organization_store.everything(self.session)}
        for section in ("districts", "functional_areas", "organizations"):
            self._organizations(section, getattr(file, section))
        for index, entry in enumerate(file.departments):
            with self.findings.at("departments", index):
                self._department(entry, entry.parent or self._municipal().code)
        for index, entry in enumerate(file.departments_of_districts):
            with self.findings.at("departments_of_districts", index):
                if entry.parent is None:
                    raise InvalidInput(N_("Name the organization above the new one."), field="parent")
                self._department(entry, entry.parent)

    def projects(self, section: str, entries: Sequence[ProjectEntry]) -> None:
        """Apply projects, making an owner that does not exist where its name says whose it is."""
        for index, entry in enumerate(entries):
            with self.findings.at(section, index):
                self._project(entry)

    def quotas(self, entries: Sequence[QuotaEntry]) -> None:
        """Apply limits, merged into those there are."""
        minimums = dict(facts.read(self.session, facts.XINCHUANG_MIN_PCT) or {})
        before = dict(minimums)
        for index, entry in enumerate(entries):
            with self.findings.at("quotas", index):
                if entry.xinchuang_min_pct is not None:
                    minimums[entry.tenant] = entry.xinchuang_min_pct
                self._quota(entry)
        if minimums != before:
            facts.write(self.session, facts.XINCHUANG_MIN_PCT, minimums)

    def organization(self, code_or_name: str, field_name: str) -> Organization:
        """Return an organization by its code, else by its name where only one has it.

        Raises:
            InvalidInput: none or several.
        """
        found = self._named(code_or_name)
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidInput(
                N_("{name} is the name of several organizations ({codes}); write the code instead."),
                field=field_name,
                name=code_or_name,
                codes=", ".join(each.code for each in found),
            )
        raise InvalidInput(
            N_("There is no organization with the code or name {name}."), field=field_name, name=code_or_name
        )

    def _named(self, code_or_name: str) -> list[Organization]:
        if code_or_name in self.known:
            return [self.known[code_or_name]]
        return [each for each in self.known.values() if each.name == code_or_name]

    def _organizations(self, section: str, entries: Sequence[OrganizationEntry]) -> None:
        """Apply a section parents first, in whatever order it is written."""
        codes = {entry.code for entry in entries}
        waiting = list(enumerate(entries))
        while waiting:
            ready = [
                (index, entry) for index, entry in waiting if entry.parent in self.known or entry.parent not in codes
            ]
            if not ready:
                ready = waiting  # a circle: each says that its parent does not exist
            for index, entry in ready:
                with self.findings.at(section, index):
                    self._organization(entry)
            waiting = [each for each in waiting if each not in ready]

    def _organization(self, entry: OrganizationEntry) -> None:
        parent = self.organization(entry.parent, "parent") if entry.parent is not None else None
        existing = self.known.get(entry.code) or (self._provisional_root(entry) if parent is None else None)
        if existing is not None:
            self._require_same_place(entry, existing, parent)
        administrator = self.organization(entry.administered_by, "administered_by") if entry.administered_by else None
        given = {"name": entry.name, "name_en": entry.name_en, "uscc": entry.uscc}
        fields = {name: value for name, value in given.items() if value is not None}
        if administrator is not None:
            fields["administered_by"] = str(administrator.id)
        upsert(
            self.report,
            "organizations",
            entry.code,
            exists=existing is not None,
            create=lambda: self._create(
                {"code": entry.code, "kind": entry.kind.value, **fields}, parent.id if parent else None
            ),
            update=lambda apply: use_cases.update_organization(
                self.session,
                self.actor,
                existing.id,  # type: ignore[union-attr]  # called only where it exists
                use_cases.UpdateOrganization.model_validate(fields if apply else {}),
            ),
        )

    def _create(self, fields: dict[str, str], parent_id: uuid.UUID | None) -> None:
        command = use_cases.CreateOrganization.model_validate(fields | ({"parent": parent_id} if parent_id else {}))
        made = use_cases.create_organization(self.session, self.actor, command).organization
        self.known[made.code] = made

    def _provisional_root(self, entry: OrganizationEntry) -> Organization | None:
        root = self.known.pop(PROVISIONAL_ROOT, None)
        if root is not None:
            use_cases.recode_organization(self.session, self.actor, root, code=entry.code, kind=entry.kind)
            self.known[entry.code] = root
        return root

    def _require_same_place(
        self, entry: OrganizationEntry, existing: Organization, parent: Organization | None
    ) -> None:
        if existing.parent_id != (parent.id if parent else None):
            raise InvalidInput(
                N_("{code} stands below another organization already; moving it is not possible."),
                field="parent",
                code=entry.code,
            )
        if existing.kind != entry.kind.value:
            raise InvalidInput(
                N_("{code} is of the kind {kind} already; that cannot change."),
                field="kind",
                code=entry.code,
                kind=existing.kind,
            )

    def _department(self, entry: DepartmentEntry, parent_code: str) -> Organization:
        parent = self.organization(parent_code, "parent")
        existing = self.known.get(entry.code) if entry.code else self._child(parent, entry.name)
        if existing is None or existing.parent_id != parent.id:
            code = entry.code or self._free_code(parent)
        else:
            code = existing.code
        self._organization(
            OrganizationEntry(
                code=code,
                name=entry.name,
                name_en=entry.name_en,
                kind=OrganizationKind.DEPARTMENT,
                parent=parent.code,
                uscc=entry.uscc,
            )
        )
        return self.known[code]

    def _child(self, parent: Organization, name: str) -> Organization | None:
        return next((each for each in self._named(name) if each.parent_id == parent.id), None)

    def _free_code(self, parent: Organization) -> str:
        """Return the next code of the form `430100-01`; codes once given are never given again, as nothing is removed."""
        taken = [code.removeprefix(f"{parent.code}-") for code in self.known if code.startswith(f"{parent.code}-")]
        last = max((int(number) for number in taken if number.isdecimal()), default=0)
        return f"{parent.code}-{last + 1:02d}"

    def _municipal(self) -> Organization:
        found = [each for each in self.known.values() if each.kind == OrganizationKind.MUNICIPAL.value]
        if len(found) != 1:
            raise InvalidInput(
                N_(
                    "There are {count} organizations of the kind municipal, so it is not clear which one this "
                    "department belongs to; name its parent."
                ),
                field="parent",
                count=len(found),
            )
        return found[0]

    def _project(self, entry: ProjectEntry) -> None:
        owner = self._owner(entry.organization)
        existing = project_store.by_name(self.session, owner.id, entry.name)
        given = entry.model_dump(
            exclude={"organization", "ssh_keys", "vcpu", "memory_gib", "storage_gib"}, exclude_none=True
        )
        given["mlps_level"] = entry.mlps_level.value
        upsert(
            self.report,
            "projects",
            f"{owner.code}/{entry.name}",
            exists=existing is not None,
            create=lambda: projects.create_project(
                self.session, self.actor, projects.CreateProject.model_validate(given | {"organization": str(owner.id)})
            ),
            update=lambda apply: projects.update_project(
                self.session,
                self.actor,
                existing.id,  # type: ignore[union-attr]  # called only where it exists
                projects.UpdateProject.model_validate(given if apply else {}),
            ),
        )
        if entry.ssh_keys:
            project = existing or project_store.by_name(self.session, owner.id, entry.name)
            assert project is not None  # noqa: S101 - made just above
            for line in entry.ssh_keys:
                project_keys.ensure_ssh_key(
                    self.session, self.actor, project.id, project_keys.AddSshKey(public_key=line)
                )

    def _owner(self, code_or_name: str) -> Organization:
        if self._named(code_or_name):
            return self.organization(code_or_name, "organization")
        parent = self._parent_by_name(code_or_name)
        return self._department(DepartmentEntry(name=code_or_name), parent.code)

    def _parent_by_name(self, name: str) -> Organization:
        """Return the district whose name a department's begins with, or the municipal level for 市….

        The longest name wins: 长沙经济技术开发区管委会 belongs to the zone and not to 长沙县.
        """
        if name.startswith(_CITY_DEPARTMENT):
            return self._municipal()
        fitting = {
            each.code: len(title)
            for each in self.known.values()
            if OrganizationKind(each.kind) in DISTRICT_KINDS
            and name.startswith(title := _TITLE_IN_BRACKETS.sub("", each.name))
        }
        longest = [code for code, length in fitting.items() if length == max(fitting.values())]
        if len(longest) != 1:
            raise InvalidInput(
                N_(
                    "There is no organization with the code or name {name}, and its name does not tell whose department "
                    "it would be; add it to the file with its parent."
                ),
                field="organization",
                name=name,
            )
        return self.known[longest[0]]

    def _quota(self, entry: QuotaEntry) -> None:
        account_id = self._account(entry.tenant)
        limits = entry.all_limits()
        if not limits:
            self.report.add("quotas", entry.tenant, "unchanged")
            return
        before = dict(ledger.account_usage(self.session, account_id).limits)
        command = quotas.SetLimits.model_validate(
            {"limits": limits, "reason": entry.reason or self.source, "basis_no": entry.basis_no}
        )
        after = quotas.set_limits(self.session, self.actor, account_id, command, replace=False).usage.limits
        what = "unchanged" if dict(after) == before else "updated" if any(before.values()) else "created"
        self.report.add("quotas", entry.tenant, what)

    def _account(self, tenant: str) -> uuid.UUID:
        code, slash, name = tenant.partition("/")
        owner = self.organization(code, "tenant")
        if not slash:
            return owner.account_id
        project = project_store.by_name(self.session, owner.id, name)
        if project is None:
            raise InvalidInput(
                N_("{organization} has no project called {name}."), field="tenant", organization=owner.name, name=name
            )
        return project.account_id
