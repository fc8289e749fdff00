"""Loaded by every Python inside the sandbox: locks that need no /dev/shm.

``multiprocessing`` makes each lock a named semaphore in /dev/shm, which all runs of a host
share and which a run may therefore not touch. dbt takes such locks but shares them between
threads only, so a lock of the process does. Handing one to another process is refused.
"""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # built in C, without stubs
import threading
import time

_RECURSIVE = 0  # multiprocessing.synchronize.RECURSIVE_MUTEX


class SemLock:
    """``_multiprocessing.SemLock`` as far as threads of one process need it."""

    SEM_VALUE_MAX = 2**31 - 1
    handle = 0

    name = None  # so that nothing is registered to be unlinked later

    def __init__(self, kind: int, value: int, maxvalue: int, _name: str, _unlink: bool) -> None:
        self.kind, self.maxvalue = kind, maxvalue
        self._value = value
        self._owner = 0
        self._depth = 0
        self._changed = threading.Condition()

    @staticmethod
    def _rebuild(*_state: object) -> None:
        raise OSError("Inside a run, a multiprocessing lock cannot be given to another process.")

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        me = threading.get_ident()
        deadline = None if timeout is None else time.monotonic() + max(0.0, timeout)
        with self._changed:
            if self.kind == _RECURSIVE and self._depth and self._owner == me:
                self._depth += 1
                return True
            while self._value == 0:
                left = None if deadline is None else deadline - time.monotonic()
                if not block or (left is not None and left <= 0):
                    return False
                self._changed.wait(left)
            self._value -= 1
            self._owner, self._depth = me, self._depth + 1
            return True

    def release(self) -> None:
        with self._changed:
            if self.kind == _RECURSIVE:
                if self._depth == 0 or self._owner != threading.get_ident():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                self._depth -= 1
                if self._depth:
                    return
            else:
                if self._value >= self.maxvalue:
                    raise ValueError("semaphore or lock released too many times")
                self._depth -= 1
            self._value += 1
            self._changed.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exception: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._depth

    def _is_mine(self) -> bool:
        return self._depth > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        self._depth = 0


def _unlink(name: str) -> None:
    """There is nothing to unlink."""


_multiprocessing.SemLock = SemLock
_multiprocessing.sem_unlink = _unlink
