"""Libcloud driver objects, one a call at a time: they are not safe to share between threads, and cost little to keep."""

import inspect
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver
from libcloud.http import LibcloudConnection

from providers.errors import ProviderError, Remedy
from providers.libcloud.errors import translated
from providers.libcloud.options import LibcloudOptions

KEPT = 8
"""Idle driver objects kept for the next calls."""


def driver_class(options: LibcloudOptions) -> Any:
    """Return Libcloud's class for the driver the settings name."""
    return get_driver(options.driver)


def implements(cls: Any, *methods: str) -> bool:
    """Whether a driver has its own version of these methods of the standard API."""
    return all(getattr(cls, method) is not getattr(NodeDriver, method) for method in methods)


def accepts(method: Any, parameter: str) -> bool:
    """Whether a driver's method takes a parameter, which differs from driver to driver."""
    return parameter in inspect.signature(method).parameters


class Drivers:
    """Opens Libcloud's driver lazily, and hands one to each call."""

    def __init__(self, options: LibcloudOptions) -> None:
        self._options = options
        self._idle: list[Any] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Drivers({self._options.driver!r})"

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Any]:
        """Give a driver for one call; every exception of it leaves as a ProviderError (P5).

        Reads inside a `session(write=True)` that were lost are told as UnknownOutcome too: the caller reconciles.
        """
        with translated(write=False):
            driver = self._take()
        try:
            with translated(write=write):
                yield driver
        except ProviderError as error:
            if error.remedy in (Remedy.FAIL, Remedy.NEXT_ZONE, Remedy.NEXT_ADDRESS):
                self._give(driver)
            else:
                _close(driver)
            raise
        self._give(driver)

    def close(self) -> None:
        """Close what is idle; a later call opens anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for driver in idle:
            _close(driver)

    def _take(self) -> Any:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        options = self._options
        driver: Any = driver_class(options)(**options.constructor(), timeout=options.timeout_s)
        ca_file = options.ca_file
        if ca_file is not None:

            class Trusting(LibcloudConnection):
                """A connection that trusts one authority; Libcloud knows such a setting only for the whole process."""

                def _setup_ca_cert(self, **_: Any) -> None:
                    self.ca_cert = ca_file

            driver.connection.conn_class = Trusting
            driver.connection.connect()
        return driver

    def _give(self, driver: Any) -> None:
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(driver)
                return
        _close(driver)


def _close(driver: Any) -> None:
    session = getattr(getattr(getattr(driver, "connection", None), "connection", None), "session", None)
    if session is not None:
        session.close()
