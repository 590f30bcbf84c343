"""Where each thread of this process is, with the request that it runs, for ``reserve stacks``. Any thread.

Only what the interpreter has in memory is used: a disk or a lock of the application cannot block it. The lines of the
source are read by the program that shows the stacks.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from types import FrameType
from typing import Any

from reserve.engine.logs.errorlog import is_frame_of_server
from reserve.engine.polling.threads import all_frames

__all__ = ["thread_rows"]

_MOST_FRAMES = 120
"""Of one thread: of a deeper recursion both ends are shown."""
_NO_FRAMES = (
    "this Python has no GIL, so the stack of a thread that runs cannot be read safely from another one; use "
    "py-spy dump --pid {pid}"
)
_ORDER = ("stuck", "running", "finishing", "waiting", "upgraded")
"""The states that come first, in this order."""


def thread_rows(server: Any) -> tuple[list[dict[str, Any]], str]:
    """Every thread of the process, those first that have run something for the longest time; and a remark.

    :param server: the :class:`~reserve.engine.server.Server`; None: it is not made yet.
    """
    frames = all_frames()
    workers = {} if server is None else {worker.ident: worker for worker in server.stats().workers}
    known = {thread.ident: thread for thread in threading.enumerate()}
    rows = []
    for ident in {*known, *(frames or ()), *workers} - {None, 0}:
        thread, worker = known.get(ident), workers.get(ident)
        row: dict[str, Any] = {
            "name": thread.name if thread is not None else worker.name if worker is not None else "",
            "ident": ident,
            "native_id": (thread.native_id if thread is not None else None) or 0,
            "state": "",
            "request": "",
            "client": "",
            "seconds": 0.0,
        }
        if worker is not None:
            fields = dataclasses.asdict(worker)
            row.update((name, fields[name]) for name in ("state", "request", "client", "seconds"))
        running = None if server is None else server._runs_for(ident)
        stack = _stack((frames or {}).get(running or ident or 0))
        row.update(stack)
        rows.append(row)
    rows.sort(key=_rank)
    return rows, "" if frames is not None else _NO_FRAMES.format(pid=os.getpid())


def _rank(row: dict[str, Any]) -> tuple[int, float, int, str]:
    state = row["state"]
    return (_ORDER.index(state) if state in _ORDER else len(_ORDER), -row["seconds"], not state, row["name"])


def _stack(frame: FrameType | None) -> dict[str, Any]:
    """The frames as JSON, the outermost first; ``skip`` of them, from the first, are the server's own."""
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append({"file": code.co_filename, "line": frame.f_lineno or 0, "function": code.co_name})
        frame = frame.f_back
    frames.reverse()
    skip = next((index for index, one in enumerate(frames) if not is_frame_of_server(str(one["file"]))), 0)
    left_out = max(0, len(frames) - skip - _MOST_FRAMES)
    if left_out:
        half = skip + _MOST_FRAMES // 2
        frames[half : half + left_out] = [{"file": "", "line": 0, "function": f"... {left_out} frames ..."}]
    return {"frames": frames, "skip": skip}
