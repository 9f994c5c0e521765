"""Reads by the PropertyCollector and nothing else: fixed property lists, page by page, views always destroyed.

Attribute access (`vm.name`) is one call for each attribute of each object; nothing in this driver does it.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim, vmodl

from providers.vsphere import errors
from providers.vsphere.connection import Session

_Filter = vmodl.query.PropertyCollector


@dataclass(frozen=True, slots=True)
class Row:
    """One object and the properties that are set; an unset one is absent."""

    obj: Any
    values: Mapping[str, Any]

    @property
    def moid(self) -> str:
        """The id the vCenter gave the object; another after it was registered anew."""
        return str(self.obj._moId)  # noqa: SLF001 - the SDK's own name for it

    def get(self, name: str, default: Any = None) -> Any:
        """Return a property, or what stands for one that is unset."""
        return self.values.get(name, default)


def every(session: Session, kinds: Sequence[Any], paths: Mapping[Any, Sequence[str]], page: int) -> Iterator[Row]:
    """Yield every object of these types in the inventory, `page` of them a call."""
    view = session.content.viewManager.CreateContainerView(session.content.rootFolder, list(kinds), True)
    try:
        spec = _Filter.FilterSpec(
            objectSet=[in_view(view)], propSet=_properties(paths), reportMissingObjectsInResults=True
        )
        yield from _pages(session, spec, page)
    finally:
        with contextlib.suppress(*errors.SDK_ERRORS):  # its session may be gone, and it with it
            view.Destroy()


def these(session: Session, objects: Sequence[Any], paths: Mapping[Any, Sequence[str]], page: int = 500) -> list[Row]:
    """Return these objects, those left out that are no longer there."""
    if not objects:
        return []
    spec = _Filter.FilterSpec(
        objectSet=[_Filter.ObjectSpec(obj=obj, skip=False) for obj in objects],
        propSet=_properties(paths),
        reportMissingObjectsInResults=True,
    )
    return list(_pages(session, spec, page))


def in_view(view: Any) -> Any:
    """Return the selection of what a view holds."""
    walk = _Filter.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    return _Filter.ObjectSpec(obj=view, skip=True, selectSet=[walk])


def _properties(paths: Mapping[Any, Sequence[str]]) -> list[Any]:
    return [_Filter.PropertySpec(type=kind, all=False, pathSet=list(names)) for kind, names in paths.items()]


def _pages(session: Session, spec: Any, page: int) -> Iterator[Row]:
    """The whole answer, however many pages it is told in; what was not asked for any more is given up."""
    collector = session.content.propertyCollector
    answer = collector.RetrievePropertiesEx([spec], _Filter.RetrieveOptions(maxObjects=page))
    token = None
    try:
        while answer is not None:
            token = answer.token
            yield from (_row(one) for one in answer.objects)
            if not token:
                return
            answer, token = collector.ContinueRetrievePropertiesEx(token), None
    finally:
        if token:
            with contextlib.suppress(*errors.SDK_ERRORS):
                collector.CancelRetrievePropertiesEx(token)


def _row(content: Any) -> Row:
    return Row(content.obj, {one.name: one.val for one in content.propSet})
