"""What the command says to a person, on standard error: nobody waits for it longer than a moment.

A terminal that is stopped, or a pipe whose reader hangs, must keep no server from starting and from ending. So the
words go through a thread of their own, started before anything else, because late in the end of a process none can be
started any more. They go past Python's buffers (:mod:`reserve.engine.logs.linestream`). Words that cannot be written
are lost.
"""

from __future__ import annotations

import sys
import threading
from queue import SimpleQueue
from types import TracebackType

from reserve.engine.logs.linestream import LineStream

__all__ = ["Console"]


class Console:
    """A context; or :meth:`start` it, and let it end with the process."""

    PATIENCE = 1.0
    """Seconds that a caller waits for its words to be written, and for those before them."""

    def __init__(self) -> None:
        self._words: SimpleQueue[tuple[str, threading.Event] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="reserve-voice", daemon=True)

    def start(self) -> Console:
        self._thread.start()
        return self

    def say(self, text: str, patience: float = PATIENCE) -> None:
        """Write whole lines to the ``sys.stderr`` of this moment. Any thread; no signal handler."""
        said = threading.Event()
        # Who is stuck with words of before is not waited for again.
        stuck = not self._words.empty()
        self._words.put((text, said))
        said.wait(0 if stuck else patience)

    def __enter__(self) -> Console:
        return self.start()

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._words.put(None)
        self._thread.join(self.PATIENCE)

    def _run(self) -> None:
        while (words := self._words.get()) is not None:
            text, said = words
            if sys.stderr is not None:
                LineStream(sys.stderr).write([text.removesuffix("\n")])
            said.set()
