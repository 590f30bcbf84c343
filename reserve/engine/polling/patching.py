"""Whether a library of green threads has replaced the threads and sockets of the process.

``gevent.monkey.patch_all()`` and ``eventlet.monkey_patch()`` replace what the standard library has for threads, locks,
sockets and polling by parts of one event loop. The engine needs those of the system: its threads would all be one, and
would wait for each other for ever. Programs that wrap a thread, as debuggers do, or replace the class of sockets by one
of their own, as proxies do, still leave them what they are, and are not meant here.

When an application does that in a request, after the start, the server goes on with the threads that it has.

Any thread may call the functions. They import nothing, and cost two look-ups where neither library was imported.
"""

from __future__ import annotations

import contextlib
import sys
import threading

from reserve.errors import StartupError

__all__ = ["SystemThread", "explanation", "green_library", "refuse_green_threads"]

_PATCHERS = {
    # the module that patches: the library, its function for the question, and what the engine uses of what it patches
    "gevent.monkey": ("gevent", "is_module_patched", ("_thread", "threading", "socket", "select")),
    "eventlet.patcher": ("eventlet", "is_monkey_patched", ("thread", "socket", "select")),
}
_CALLS = {"gevent": "gevent.monkey", "eventlet": "eventlet.monkey_patch()"}
_SERVERS = {
    "gevent": "from gevent.pywsgi import WSGIServer; WSGIServer(('127.0.0.1', 8080), app).serve_forever()",
    "eventlet": "import eventlet.wsgi; eventlet.wsgi.server(eventlet.listen(('127.0.0.1', 8080)), app)",
}


class SystemThread(threading.Thread):
    """A thread of the engine; owned by the object that starts it."""

    def start(self) -> None:
        """Start it. Raises RuntimeError when the system starts no more threads, and when a library of green threads
        would run it inside the calling thread, and perhaps never return.
        """
        library = green_library()
        if library:
            raise RuntimeError(f"{library} has replaced the threads of the system")
        super().start()

    def _delete(self) -> None:
        # The end of a thread of threading: it looks for itself by its number, which is another one if a library has
        # replaced get_ident() meanwhile.
        with contextlib.suppress(KeyError):
            super()._delete()  # type: ignore[misc]


def green_library() -> str:
    """The library that has replaced threads, sockets or ``select``: ``gevent`` or ``eventlet``; empty: none has."""
    if _PATCHERS.keys().isdisjoint(sys.modules.keys()):  # nearly always, and asked for each new client
        return ""
    for name, (library, question, parts) in _PATCHERS.items():
        module = sys.modules.get(name)
        if module is not None:
            is_patched = getattr(module, question, None)
            if is_patched is not None and any(is_patched(part) for part in parts):
                return library
    return ""


def explanation(library: str) -> str:
    """What is wrong, in one sentence without its end."""
    return (
        f"{library} has replaced threads or sockets of this process ({_CALLS[library]}), and reserve needs those of "
        "the system"
    )


def refuse_green_threads(with_gevent: str = "") -> None:
    """Raise StartupError when a library has replaced threads, sockets or ``select``.

    :param with_gevent: a line that serves the application with gevent. Default: one of Python for a WSGI application
        ``app``.
    """
    library = green_library()
    if library:
        line = (library == "gevent" and with_gevent) or _SERVERS[library]
        raise StartupError(
            f"{explanation(library)}: remove that call, which costs nothing here because each request has a thread, or "
            f"serve with {library}: {line}"
        )
