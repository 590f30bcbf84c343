"""The metrics that an application counts with the library prometheus-client, for the same page.

The library is not imported here: an application that counts with it has imported it.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from reserve.engine.polling.patching import SystemThread

__all__ = ["ApplicationMetrics"]

_PATIENCE = 1.0
"""Seconds that the collectors of the application may take: they are its code, and may ask a database."""
_MULTIPROCESS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""The environment variables of the library's mode for several processes."""


class ApplicationMetrics:
    """Makes the text of the application's own metrics; owned by the page, whose threads call it.

    The application's collectors run on a thread of their own. While one of them hangs, none is called again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        """Protects the next one."""
        self._is_running = False

    def exposition(self, *, several: bool) -> bytes:
        """The text, in the format of :mod:`~reserve.control.metrics.exposition`; empty: there is none.

        A comment says why metrics that there are do not follow it.

        :param several: the server has several processes: each has counted a part, and only the library's own mode for
            them can add it up.
        """
        library = sys.modules.get("prometheus_client")
        if library is None:
            return b""
        is_shared = any(name in os.environ for name in _MULTIPROCESS)
        if several and not is_shared:
            return _comment("there are several processes; set PROMETHEUS_MULTIPROC_DIR, see prometheus-client")
        with self._lock:
            if self._is_running:
                return _comment("a collector of it has not returned since an earlier request")
            self._is_running = True
        results: list[bytes] = []
        thread = SystemThread(
            target=self._run, args=(library, is_shared, results), name="reserve-metrics-app", daemon=True
        )
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._is_running = False
            return _comment("the system starts no more threads")
        thread.join(_PATIENCE)
        return results[0] if results else _comment(f"its collectors have taken longer than {_PATIENCE:g} s")

    def _run(self, library: Any, is_shared: bool, results: list[bytes]) -> None:
        try:
            results.append(_generate(library, is_shared))
        except BaseException as error:  # of the application; also SystemExit
            results.append(_comment(f"one of its collectors has raised {type(error).__name__}"))
        finally:
            self._is_running = False


def _generate(library: Any, is_shared: bool) -> bytes:
    if not is_shared:
        text: bytes = library.generate_latest(library.REGISTRY)
        return text
    from importlib import import_module

    registry = library.CollectorRegistry()
    import_module("prometheus_client.multiprocess").MultiProcessCollector(registry)
    text = library.generate_latest(registry)
    return text


def _comment(reason: str) -> bytes:
    reason = reason.replace("\n", " ").replace("\r", " ")
    return f"# The metrics of the application are left out: {reason}\n".encode("utf-8", "replace")
