"""What is needed next is made by threads while what was made before is used."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from converters.processors import usable_processors
from deeppose_port.data.threads import without_opencv_threads

Item = TypeVar("Item")
Made = TypeVar("Made")


class Workers:
    """Threads that make things, each given back in its turn; OpenCV starts none of its own meanwhile.

    Args:
        threads: How many; None for one a processor.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or usable_processors()

    def __enter__(self) -> Workers:
        self._stack = ExitStack()
        self._stack.enter_context(without_opencv_threads)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="deeppose-ahead")
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._stack.close()

    def begin(self, make: Callable[[], Made]) -> Future[Made]:
        """Begins to make one thing."""
        return self._pool.submit(make)

    def ahead(
        self, items: Iterable[Item], make: Callable[[Item], Made], most: int
    ) -> Iterator[tuple[Item, Callable[[], Made]]]:
        """Makes something of each item, of so many before they are asked for.

        Args:
            items: The items.
            make: Makes it.
            most: How many are made or in the making at a time, at most.

        Yields:
            Each item in its order, with what returns that which was made of it, or raises what its making raised.
        """
        waiting: deque[tuple[Item, Future[Made]]] = deque()
        for item in items:
            waiting.append((item, self._pool.submit(make, item)))
            if len(waiting) >= most:
                first, future = waiting.popleft()
                yield first, future.result
        for item, future in waiting:
            yield item, future.result


def read_ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """Yields items that one thread takes from their source, so many before they are asked for.

    The thread has ended when the iterator is exhausted or closed, so that the source may be closed then.

    Args:
        items: The source.
        most: How many may wait.
    """
    end = object()
    waiting: queue.Queue[object] = queue.Queue(most)
    stop = threading.Event()
    raised: list[BaseException] = []

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def take() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
        except BaseException as error:
            raised.append(error)
        put(end)

    thread = threading.Thread(target=take, name="deeppose-reader", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not end:
            yield item  # type: ignore[misc]  # all but `end` are items
        if raised:
            raise raised[0]
    finally:
        stop.set()
        thread.join()
