"""The threads that wait for disks, so that the thread that leads does not.

The leader sends what is in the page cache. When the next bytes of an output are in a file and not in the cache, it
passes the connection to a :class:`FileThreads`, one of whose threads reads the disk, sends, and passes the connection
on, to the poller or to the leader. The same threads send large files to clients that take them as fast as that, write
the bodies of requests to files, and close large files, because the system frees their blocks then. The first one is
started when it is needed, and each ends when it has been idle for a while.

A disk that never responds (an NFS server that is gone) keeps as many of the threads as there are such files, up to all
of them. Then files that are not in the cache wait, and nothing else does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.states import FLUSHING, OWNED, READY
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import THREAD_PREFIX

__all__ = ["LARGE", "FileThread", "FileThreads"]

LARGE = 1048576
"""Bytes. A file of at least this size is closed on one of the threads: to free 64 MB takes 20 ms and more."""
_IDLE = 30.0
"""Seconds without work after which a thread ends."""

Job = tuple[Connection, Callable[[Connection], None]] | Callable[[], None]
Jobs = SimpleQueue[Job | None]


class FileThread:
    """One of the threads, and what it does; owned by its :class:`FileThreads`. Only that thread writes it.

    :param target: called on the thread, with this object and the queue of its jobs.
    :param name: of the thread.
    """

    __slots__ = ("connection", "thread")

    def __init__(self, target: Callable[[FileThread, Jobs], None], jobs: Jobs, name: str) -> None:
        self.connection: Connection | None = None
        """The connection whose output it sends or whose body it stores now, which it owns."""
        self.thread = SystemThread(target=target, args=(self, jobs), name=name, daemon=True)


class FileThreads:
    """The threads of one server that wait for disks; owned by its stepper.

    :param limit: how many there may be (``--file-threads``).
    :param flush: called on one of them, with a connection that the thread then owns, to send its output.
    :param store: the same, to store the body of its request.
    """

    def __init__(
        self,
        limit: int,
        flush: Callable[[Connection], None],
        store: Callable[[Connection], None],
        log: ErrorLog,
    ) -> None:
        self._limit = limit
        self._flush = flush
        self._store = store
        self._log = log
        self._lock = threading.Lock()
        self._jobs: Jobs = SimpleQueue()
        self._unfinished = 0
        self.thread_prefix = THREAD_PREFIX
        """What the names of the threads begin with."""
        self._created = 0
        self.stopping = False
        """No more connections are taken."""
        self.closed = False
        """Nothing more is taken. Also in a forked child, which has none of the threads."""
        self.threads: tuple[FileThread, ...] = ()
        """Replaced as a whole while the lock is held; read without it."""

    def busy(self) -> list[FileThread]:
        """The threads that send an output or store a body now."""
        return [own for own in self.threads if own.connection is not None]

    @property
    def waiting(self) -> int:
        """Jobs that no thread has begun (may be out of date at once)."""
        return self._jobs.qsize()

    # ---- any thread ----

    def submit(self, connection: Connection, *, at_once: bool = False) -> None:
        """By the owner: pass on a connection whose output needs the disk. It counts as FLUSHING from now on.

        :param at_once: only if a thread is free. All of them may be in a disk that never responds, and this connection
            does not need one.

        Raises RuntimeError when the server is stopped, when there is no thread and none can be started, or when none is
        free; the caller still owns the connection then.
        """
        if self.stopping:
            raise RuntimeError("the server is stopped")
        connection.state = FLUSHING
        try:
            self._put((connection, self._flush), at_once=at_once)
        except BaseException:
            connection.state = OWNED
            raise

    def submit_store(self, connection: Connection) -> None:
        """By the owner: pass on a connection whose driver wants to store a body. It is READY, and wants a worker.

        Raises RuntimeError as :meth:`submit` does.
        """
        if self.stopping:
            raise RuntimeError("the server is stopped")
        connection.state = READY
        connection.wants_worker = True
        try:
            self._put((connection, self._store))
        except BaseException:
            connection.state = OWNED
            connection.wants_worker = False
            raise

    def close_file(self, close: Callable[[], None], size: int) -> None:
        """Close a file by calling ``close``: on one of the threads, if the file is large.

        :param size: bytes of the file.
        """
        if size >= LARGE and not self.closed:
            try:
                return self._put(close)
            except (RuntimeError, MemoryError):  # no thread
                pass
        return close()

    def _put(self, job: Job, *, at_once: bool = False) -> None:
        with self._lock:
            if self._unfinished >= len(self.threads) < self._limit:
                self._start()
            if at_once and self._unfinished >= len(self.threads):
                raise RuntimeError("no thread is free")
            self._unfinished += 1
            try:
                self._jobs.put(job)
            except MemoryError:  # after a RequestTimeout, which a run may raise here, the job is in the queue
                self._unfinished -= 1
                raise

    def _start(self) -> None:
        """Start one more thread. Raises RuntimeError when there is none and none can be started."""
        self._created += 1
        new = FileThread(self._main, self._jobs, f"{self.thread_prefix}-file-{self._created}")
        before = self.threads
        self.threads = (*before, new)
        try:
            new.thread.start()
        except BaseException as error:
            self.threads = before
            if not before or not issubclass(type(error), RuntimeError):
                raise

    # ---- the threads ----

    def _main(self, own: FileThread, jobs: Jobs) -> None:
        while True:
            try:
                job = jobs.get(timeout=_IDLE)
            except Empty:
                if self._may_leave(own, jobs):
                    return
                continue
            if job is None:
                return
            try:
                if isinstance(job, tuple):
                    own.connection, act = job
                    act(job[0])
                else:
                    job()
            except BaseException as error:  # the thread goes on with the other jobs
                self._log.failure(f"{own.thread.name} failed and goes on", error)
            own.connection = job = None
            with self._lock:
                if own in self.threads:
                    self._unfinished -= 1

    def _may_leave(self, own: FileThread, jobs: Jobs) -> bool:
        with self._lock:
            if own not in self.threads or not jobs.empty():
                return False
            self.threads = tuple(thread for thread in self.threads if thread is not own)
            return True

    # ---- the shutdown ----

    def stop(self) -> tuple[list[Connection], tuple[FileThread, ...]]:
        """Take no more connections. Returns those that no thread has taken, which the caller owns from now on, and the
        threads, each of which ends after its present job. Files are still closed, by other threads.
        """
        self.stopping = True
        return self._end()

    def close(self) -> tuple[FileThread, ...]:
        """Take nothing more. Returns the threads, each of which ends when it has closed the files that wait."""
        self.closed = True
        return self._end()[1]

    def _end(self) -> tuple[list[Connection], tuple[FileThread, ...]]:
        with self._lock:
            jobs, self._jobs = self._jobs, SimpleQueue()
            threads, self.threads = self.threads, ()
            self._unfinished = 0
        left: list[Job] = []
        with suppress(Empty):
            while True:
                job = jobs.get_nowait()
                if job is not None:
                    left.append(job)
        for job in left:
            if not isinstance(job, tuple):
                jobs.put(job)
        for _ in threads:
            jobs.put(None)
        return [job[0] for job in left if isinstance(job, tuple)], threads
