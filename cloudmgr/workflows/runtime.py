"""What workflows stand on in this process: settings, the datasource, and opened providers. One worker a process."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import SQLAlchemyDatasource

from cloudmgr.domain.messages import N_
from cloudmgr.settings import Settings
from cloudmgr.workflows.sections import SHARED_KEYS
from providers import registry
from providers.base import Provider
from providers.errors import AuthFailed, Unavailable


@dataclass(slots=True)
class Runtime:
    """The worker's half of the process."""

    settings: Settings
    engine: sa.Engine
    datasource: SQLAlchemyDatasource
    own_engines: Sequence[sa.Engine] = ()
    """Connections of this runtime alone, let go of with it; `engine` may be shared with the web half."""
    _providers: dict[str, Provider] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def options(self, backend: str) -> Mapping[str, Any]:
        """Return a backend's section of the settings.

        Raises:
            Unavailable: this worker's settings have no such backend.
        """
        return section_of(self.settings, backend)

    def provider(self, backend: str) -> Provider:
        """Return the opened provider of a backend; opened once, kept."""
        with self._guard:
            if backend not in self._providers:
                self._providers[backend] = open_provider(self.settings, backend)
            return self._providers[backend]

    def close(self) -> None:
        """Close every provider, and the connections that are this runtime's own."""
        with self._guard:
            for provider in self._providers.values():
                provider.close()
            self._providers.clear()
        for own in self.own_engines:
            own.dispose()

    @property
    def work_dir(self) -> Path:
        """Where playbook runs keep their locks and known hosts."""
        return self.settings.data_dir.absolute() / "runs"


def section_of(settings: Settings, backend: str) -> Mapping[str, Any]:
    """Return a backend's section of the settings.

    Raises:
        Unavailable: there is no such section.
    """
    for section in settings.backends:
        if section.get("name") == backend:
            return section
    raise Unavailable(N_("The cloud {backend} is not configured on this worker."), backend=backend)


def open_provider(settings: Settings, backend: str) -> Provider:
    """Open the provider of a backend; whoever opens it closes it.

    Raises:
        Unavailable: there is no such backend. AuthFailed: its section is not valid.
    """
    section = section_of(settings, backend)
    driver = registry.load(str(section["provider"]))
    options = {key: value for key, value in section.items() if key not in SHARED_KEYS}
    state_dir = settings.data_dir.absolute() / "backends" / backend
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return driver.open(options, backend=backend, state_dir=state_dir)
    except ValueError as error:
        raise AuthFailed(
            N_("The settings of cloud {backend} are not valid."), detail=str(error), backend=backend
        ) from error


_current: Runtime | None = None


def install(new: Runtime | None) -> None:
    """Make `new` this process's runtime."""
    global _current  # noqa: PLW0603 - one worker a process, as DBOS has it
    _current = new


def runtime() -> Runtime:
    """Return this process's runtime."""
    if _current is None:
        raise RuntimeError("no worker is running in this process")
    return _current
