"""What a thread hands back to the task that waits for it.

Rule 1: whatever is raised in the thread is raised again in the task. `Outcome` carries it there and is the
one place that holds on to an error of any kind; nothing is swallowed.
Rule 2: a closed loop has nobody waiting; its outcomes are dropped. So are those of cancelled waiters.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from types import TracebackType
from typing import Any, Literal

from costplus.billing.store import Tx
from costplus.storage.errors import StorageUnavailable


class Outcome:
    """A result or an error, on its way to `future`. As a context it keeps the error of its block."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future
        self.loop = future.get_loop()
        self.result: Any = None
        self.error: BaseException | None = None

    def __enter__(self) -> None:
        self.error = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[True]:
        self.error = error
        return True

    def has_failed(self) -> bool:
        return self.error is not None

    def fail(self, cause: BaseException) -> None:
        """Note that the database did not take it."""
        self.result, self.error = None, StorageUnavailable(f"The database failed: {cause}.")
        self.error.__cause__ = cause

    def settle(self) -> None:
        """Hand it over, in the loop's own thread."""
        if self._future.done():
            return
        if isinstance(self.error, StopIteration):  # A future cannot carry this one.
            self.error = RuntimeError("A verb raised StopIteration.")
        if self.error is not None:
            self._future.set_exception(self.error)
            self.error = None  # Its traceback leads back here: a circle, for the garbage collector alone.
        else:
            self._future.set_result(self.result)


class Attempt(Outcome):
    """The outcome of a verb, which names the customers that it concerns (None: it is to be alone)."""

    def __init__(
        self,
        verb: Callable[[Tx], Any],
        future: asyncio.Future[Any],
        *,
        customers: Collection[str] | None = None,
    ) -> None:
        super().__init__(future)
        self.verb = verb
        self.customers = customers

    def run(self, tx: Tx) -> None:
        """Run the verb; its error, if any, is kept for who waits."""
        with self:
            self.result = self.verb(tx)


class Reported:
    """As a context: an error of its block goes to the thread's excepthook, and the thread goes on."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[True]:
        if kind is not None:
            threading.excepthook(threading.ExceptHookArgs((kind, error, trace, threading.current_thread())))
        return True


def _settle_all(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        outcome.settle()


def hand_over(outcomes: Iterable[Outcome]) -> None:
    """Wake each loop once, with everything that it waits for."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_loop[outcome.loop].append(outcome)
    for loop, done in by_loop.items():
        with contextlib.suppress(RuntimeError):  # The loop is closed.
            loop.call_soon_threadsafe(_settle_all, done)
