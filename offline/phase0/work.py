"""How work is spread: pieces in a fixed order, to threads or to a dask cluster, answers in that order.

What is summed is summed in the order of the pieces, and each piece is computed with one thread of linear algebra, so
the figures do not depend on how many workers there were. Nothing of dask's is written to disk by us.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from ...plugins._errors import CspaceError

T = TypeVar("T")
#: How often a piece is tried again when its worker dies.
RETRIES = 5
#: How long a scheduler may take to answer.
CONNECT_SECONDS = 20


class WorkError(CspaceError, RuntimeError):
    """The workers are gone, or cannot be reached. Exit code 2 as all errors: 1 is the study's "no"."""


class Workers:
    """Threads of this process, by dask's threaded scheduler.

    >>> with Workers(2) as workers:
    ...     for answer in workers.map(task, pieces, shared):
    """

    def __init__(self, count: int | None = None):
        self.count = count or len(os.sched_getaffinity(0))

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives up what is held."""

    def map(self, task: Callable[..., T], pieces: Iterable[Any], *args: Any) -> Iterator[T]:
        """`task(piece, *args)` of each piece, in order; only a few answers are held at a time."""
        dask: Any = import_module("dask")  # its types are half there
        left = iter(pieces)
        with one_thread_each():
            while batch := list(islice(left, 2 * self.count)):
                if self.count == 1:
                    for piece in batch:
                        yield task(piece, *args)
                    continue
                lazy = [dask.delayed(_held, pure=False)(_Held((task, piece, args))) for piece in batch]
                yield from dask.compute(*lazy, scheduler="threads", num_workers=self.count, optimize_graph=False)


class Cluster(Workers):
    """Workers of a dask scheduler that is running already."""

    def __init__(self, address: str):
        distributed: Any = import_module("distributed")
        try:
            self._client: Any = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as e:
            raise WorkError(f"--scheduler {address}: cannot be reached: {(str(e).splitlines() or [''])[0]}") from None
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        if not found:
            self._client.close()
            raise WorkError(f"--scheduler {address}: has no workers; start some with `dask worker {address}`")
        super().__init__(sum(int(w["nthreads"]) for w in found.values()))

    def close(self) -> None:
        """Leaves the cluster as it was."""
        self._client.close()

    def map(self, task: Callable[..., T], pieces: Iterable[Any], *args: Any) -> Iterator[T]:
        """The same on the cluster. A piece whose worker dies goes to another one."""
        from distributed import KilledWorker

        left = iter(pieces)
        waiting: list[Any] = []
        try:
            while True:
                waiting += [
                    self._client.submit(_remote, task, piece, *args, pure=False, retries=RETRIES)
                    for piece in islice(left, 2 * self.count - len(waiting))
                ]
                if not waiting:
                    return
                yield waiting.pop(0).result()
        except KilledWorker as e:
            raise WorkError(f"the cluster lost a piece of work again and again: {e}") from None
        finally:
            self._client.cancel(waiting)


class _Held:
    """Keeps dask from looking into arguments (and from copying them into its graph)."""

    def __init__(self, call: tuple[Callable[..., Any], Any, tuple[Any, ...]]):
        self.call = call


def _held(held: _Held) -> Any:
    task, piece, args = held.call
    return task(piece, *args)


def connect(scheduler: str | None, count: int | None) -> Workers:
    """Threads, or the workers of a scheduler. Raises WorkError."""
    return Workers(count) if scheduler is None else Cluster(scheduler)


def _remote(task: Callable[..., T], piece: Any, *args: Any) -> T:
    with one_thread_each():
        return task(piece, *args)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Linear algebra with one thread: sums in one order, and no more threads than workers."""
    from threadpoolctl import threadpool_limits

    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 0
    with threadpool_limits(limits=1):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def chunks(items: Sequence[T], size: int) -> list[list[T]]:
    """Pieces of a list."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
