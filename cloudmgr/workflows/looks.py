"""Asking a cloud with a deadline: the call runs in a thread of its own, and a hung one is left behind and remembered.

A driver may hang in a library that knows no timeout. What waits for it goes on after the deadline; while the abandoned call
hangs, the same backend is not asked again in this process, so that there is at most one such thread a backend.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from cloudmgr.domain.messages import N_
from providers.errors import Unavailable

Item = TypeVar("Item")
Put = Callable[[Any], None]

_AHEAD = 2
"""Batches that may wait to be taken: a fast cloud does not fill the memory."""
_hung: dict[str, threading.Thread] = {}
_guard = threading.Lock()


class _AbandonedError(Exception):
    """Nobody waits for this look any more."""


class _End:
    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def within(backend: str, timeout_s: float, deed: Callable[[], Item]) -> Item:
    """Return what `deed` returns, or give it up after `timeout_s`.

    Raises:
        Unavailable: it took longer, or an earlier call to this backend hangs still.
    """
    (result,) = stream(backend, timeout_s, lambda put: put(deed()))
    return result  # type: ignore[no-any-return]


def stream(backend: str, timeout_s: float, produce: Callable[[Put], None]) -> Generator[Any, None, None]:
    """Run `produce(put)` in a thread of its own and yield what it puts, for at most `timeout_s` in all.

    Raises:
        Unavailable: as `within`. Whatever `produce` raises.
    """
    _refuse_while_hung(backend)
    pipe: queue.Queue[Any] = queue.Queue(maxsize=_AHEAD)
    given_up = threading.Event()

    def put(item: Any) -> None:
        while not given_up.is_set():
            with contextlib.suppress(queue.Full):
                pipe.put(item, timeout=0.2)
                return
        raise _AbandonedError

    def body() -> None:
        end = _End()
        try:
            produce(put)
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits, which raises it
            end = _End(error)
        with contextlib.suppress(_AbandonedError):
            put(end)

    thread = threading.Thread(target=body, name=f"look {backend}", daemon=True)
    thread.start()
    deadline = time.monotonic() + timeout_s
    try:
        while not isinstance(item := _next(pipe, deadline, backend, thread, timeout_s), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        given_up.set()


def _next(pipe: "queue.Queue[Any]", deadline: float, backend: str, thread: threading.Thread, timeout_s: float) -> Any:
    try:
        return pipe.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        with _guard:
            _hung[backend] = thread
        raise Unavailable(
            N_("{backend} did not answer within {seconds} s."), backend=backend, seconds=round(timeout_s)
        ) from None


def hung() -> list[str]:
    """Return the backends of which an abandoned call hangs still."""
    with _guard:
        for backend in [name for name, thread in _hung.items() if not thread.is_alive()]:
            del _hung[backend]
        return sorted(_hung)


def _refuse_while_hung(backend: str) -> None:
    if backend in hung():
        raise Unavailable(
            N_("An earlier call to {backend} hangs still; it is not asked again until that ends."), backend=backend
        )
