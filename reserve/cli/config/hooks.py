"""The hooks of a configuration: ``--on-ready`` and the others. Runs on the main thread at start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reserve.errors import UsageError
from reserve.loader.hooks import check_hook, load_hook
from reserve.options.table import HOOKS, Option

if TYPE_CHECKING:
    from reserve.engine.hooks import Hooks
    from reserve.engine.logs.errorlog import ErrorHook
    from reserve.options.sources import Values

__all__ = ["check_hooks", "load_hooks"]

_FIELDS = {
    "on-process-start": "on_worker_start",
    "on-process-end": "on_worker_stop",
    "on-thread-end": "on_thread_stop",
}
"""The fields of :class:`reserve.Hooks` that have other names than their options."""
_REQUEST_END = "on-request-end"


def check_hooks(values: Values) -> None:
    """Check the names of all hooks that are given. Nothing is imported.

    :raises UsageError: one is not ``module:function``.
    """
    for _, name, source in _given(values):
        check_hook(name, source)


def load_hooks(values: Values, handle: object, application: str, error_log: ErrorHook) -> Hooks:
    """Import the hooks that are given, after the application.

    :param handle: the launched application.
    :param application: its name, for messages.
    :param error_log: gets the lines of the server's error log.
    :raises UsageError: a malformed name, or a hook for requests and an application without any.
    :raises StartupError: a hook that cannot be imported or called.
    """
    from reserve.engine.hooks import Hooks

    hooks: dict[str, Any] = {}
    for option, name, source in _given(values):
        if option.name == _REQUEST_END and not getattr(handle, "reports_requests", False):
            raise UsageError(f"{source} is for HTTP applications (reserve app http), not for {application}")
        field = _FIELDS.get(option.name, option.field)
        hooks[field] = load_hook(name, source, option.flag, 1 if option.name == _REQUEST_END else 0)
    return Hooks(error_log=error_log, **hooks)


def _given(values: Values) -> Iterator[tuple[Option, str, str]]:
    """The options with hooks that a source sets, their values and the sources."""
    for option in HOOKS:
        given = values.given.get(option.field)
        if given is not None:
            yield option, str(given.value), given.source
