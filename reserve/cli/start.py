"""A start of the command, from the process to the end of its server. :mod:`reserve.cli.command` has decided what runs.

Runs on the main thread. The order of a start is: process, certificates, listeners, application, server. The listeners
are opened before the application is imported, because a wrong address must not cost an import with all its side
effects, and because an application may give up the rights that a privileged port needs. If a later step fails, the
listeners are closed and their files removed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from reserve.cli.application import configure, gunicorn_line, launch, report_threads, single_thread, url_scheme
from reserve.cli.banner import banner, listener_lines, url_for_browser
from reserve.cli.binds import open_listeners
from reserve.cli.config.hooks import load_hooks
from reserve.cli.console import Console
from reserve.cli.control.monitoring import Monitoring
from reserve.cli.forceexit import ABORTED
from reserve.cli.logfiles import open_log_files, redirect_stderr
from reserve.cli.parser import CommandLine
from reserve.cli.privileges import account, drop_privileges
from reserve.cli.process import prepare_process
from reserve.cli.processes.successor import Origin, Succession
from reserve.cli.server import make_server, open_when_ready
from reserve.cli.service import Service
from reserve.cli.signals import StopSignals
from reserve.cli.stderrlog import configure_logging, enable_loggers
from reserve.cli.tls import make_adapter
from reserve.daemon.detach import null_streams
from reserve.errors import ServerFailed
from reserve.loader.arguments import Arguments
from reserve.loader.find import FoundApplication, find
from reserve.options.sources import Values
from reserve.options.table import FLAGS

if TYPE_CHECKING:
    from reserve.cli.control.serving import OwnControl
    from reserve.cli.processes.worker import SupervisedWorker
    from reserve.engine.hooks import Hooks
    from reserve.engine.logs.errorlog import ErrorHook
    from reserve.engine.logs.logfile import LogFile
    from reserve.engine.server import Server
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["STOPPED", "Start", "load", "prepare", "serve"]

STOPPED = "reserve: the server has stopped\n"


@dataclass(slots=True)
class Start:
    """A start of the command before its server: what :func:`prepare` and :func:`load` have done."""

    command: CommandLine
    name: str
    """The name of the application."""
    before: Sequence[str]
    """The arguments of the application before ``--``; those after it are in ``command``."""
    values: Values
    error_log: ErrorHook
    application: FoundApplication
    adapter: SSLAdapter | None
    handle: object = None
    """The launched and configured application."""
    hooks: Hooks | None = None
    """Those of the options; None: they are not loaded yet."""
    served: Sequence[str] = ()
    """What the banner says is served."""
    is_loaded: bool = False
    error_file: LogFile | None = None
    """What standard error becomes when the server is ready; None: it stays."""


def prepare(
    command: CommandLine,
    name: str,
    before: Sequence[str],
    values: Values,
    console: Console,
    announces: bool,
    *,
    forks_workers: bool = False,
) -> Start:
    """Do what comes before the listeners: process, logs, certificates.

    :param before: the arguments of the application before ``--``.
    :param announces: whether this process writes what a person reads at a start.
    :param forks_workers: see :func:`~reserve.cli.process.prepare_process`.
    """
    prepare_process(values, forks_workers=forks_workers)
    account(values)  # a mistake in it must not cost the rest of the start
    error_file = open_log_files(values)
    error_log = configure_logging(str(values["log_level"]))
    application = find(name)
    if application.note and announces:
        console.write(f"reserve: {application.note}\n")
    adapter = make_adapter(values)
    return Start(command, name, before, values, error_log, application, adapter, error_file=error_file)


def load(start: Start, console: Console) -> None:
    """Give up the rights of root if the options say so, and import, launch and configure the application."""
    drop_privileges(start.values)
    arguments = Arguments(
        [f"reserve {start.name}", *start.before, *start.command.after],
        literal=len(start.command.after),
        reserved=[flag for flag in FLAGS if len(flag) > 2],
    )
    start.handle = _launch(start.application, arguments, console, start.values)
    configure(start.handle, start.name, start.values)
    report_threads(start.handle, start.values, console)
    start.hooks = load_hooks(start.values, start.handle, start.name, start.error_log)
    start.served = arguments.served or [start.name]
    enable_loggers()
    start.is_loaded = True


def serve(
    start: Start,
    console: Console,
    signals: StopSignals,
    worker: SupervisedWorker | None,
    service: Service,
    origin: Origin | None = None,
) -> int:
    """Start the server and return the exit code when it has stopped.

    :param worker: what a worker process knows of its supervisor; None: it has none.
    :param origin: how the process was started; None: a supervisor starts the next one.
    :param service: what is told to those that have started this process.
    """
    values, adapter = start.values, start.adapter
    with ExitStack() as cleanup:
        listeners = open_listeners(values, os.environ) if worker is None else worker.listeners()
        from reserve.sockets.listeners import release

        for sock in listeners.all:
            cleanup.callback(release, sock)
        cleanup.callback(service.close)
        control = _control(values, signals) if worker is None else None
        if control is not None:
            cleanup.callback(control.close)
        service.start(" ".join((start.name, *start.before)))
        if control is not None:
            control.start()
        if worker is not None:
            worker.begin()
        if not start.is_loaded:
            load(start, console)
        addresses = listener_lines(listeners, url_scheme(start.handle), tls=adapter is not None)
        text = banner(
            served=start.served,
            addresses=addresses,
            threads=values.engine().thread_range,
            config=values.file,
            single_thread=single_thread(start.handle),
            processes=0 if worker is None else worker.processes,
            daemon=os.getpid() if worker is None and values["daemon"] else 0,
        )
        hooks = cast("Hooks", start.hooks)
        in_background = worker is not None and bool(values["daemon"])

        def on_ready() -> None:
            status = f"serves {', '.join(start.served)} on {', '.join(address.split()[0] for address in addresses)}"
            redirect_stderr(start.error_file)
            service.ready(status, lambda: server.healthy or server.retiring)
            if in_background:
                null_streams(keep_files=True)  # as the supervisor does
            if worker is not None:
                worker.ready()
            monitoring.start(server)
            hooks.on_ready()

        monitoring = Monitoring(listeners.metrics, values, hooks)
        cleanup.callback(monitoring.stop)
        needs_ready = service.is_active or worker is not None or start.error_file is not None or monitoring.is_wanted
        told = dataclasses.replace(hooks, on_ready=on_ready) if needs_ready else hooks
        slot = None if worker is None else worker.slot()
        server = make_server(listeners, start.handle, start.name, values, adapter, told, slot)
        stoppable = service.announcing(server, signals.stop_timeout, signals.drain_delay)
        # Before the banner, which says that signals stop the server.
        succession = None
        if worker is not None:
            if signals.force_exit is not None:
                signals.force_exit.report_by(worker.report)
            refer = partial(worker.log_hand_over, server.log)
            signals.serve(stoppable, server.log, partial(worker.recycle, "SIGHUP was sent to it"), refer)
        elif origin is None or signals.force_exit is None or values["exit_idle"] or not Succession.is_possible():
            on_sighup: Callable[[], object] = partial(_on_sighup, server, service)
            signals.serve(stoppable, server.log, on_sighup)
        else:
            keep_alive = cast("float", values["keep_alive"])
            succession = Succession(
                server,
                listeners,
                origin,
                keep_alive,
                console,
                signals,
                signals.force_exit,
                service.notifier,
                passes=_state_of(server, control),
            )
            on_sighup = succession.reload
            stoppable = service.announcing(succession, signals.stop_timeout, signals.drain_delay)
            signals.serve(stoppable, server.log, succession.reload, succession.reload)
        if control is not None:
            control.serve(server, on_sighup)
        scheme = url_scheme(start.handle)
        url = url_for_browser(listeners.main, scheme, tls=adapter is not None, root_path=str(values["root_path"]))
        if worker is None:
            console.write(text)
            if values["open"]:
                open_when_ready(server, url, console)
        else:
            worker.serve(server, text, values, partial(open_when_ready, server, url, console))
        exit_code = 0
        try:
            server.start()  # closes the listeners; releasing them once more does nothing
        except ServerFailed as error:  # the error log has its text
            exit_code = error.exit_code
            service.notifier.failed(str(error))
        if worker is not None:
            worker.ended()
        if succession is not None and succession.end():
            service.hand_over()
            if control is not None:
                control.hand_over()
        elif worker is None:
            console.write(STOPPED, last=True)
    if exit_code:
        return exit_code
    return ABORTED if server.aborted else 0


def _launch(application: FoundApplication, arguments: Arguments, console: Console, values: Values) -> object:
    """Launch the application. Raises StartupError when the application has replaced threads or sockets meanwhile: what
    else goes wrong then is a consequence.
    """
    from reserve.engine.polling.patching import refuse_green_threads

    with_gevent = gunicorn_line(arguments.before, cast("tuple[str, ...]", values["bind"]))
    refuse_green_threads(with_gevent)  # a program that runs the command has done it
    try:
        handle = launch(application, arguments, console)
    except Exception:
        refuse_green_threads(with_gevent)
        raise
    refuse_green_threads(with_gevent)
    return handle


def _control(values: Values, signals: StopSignals) -> OwnControl | None:
    """The control sockets of this process; None: no option asks for one."""
    if not any(values[name] or name in values.given for name in ("control", "control_readonly")):
        if "control_mode" in values.given:
            from reserve.cli.control.sockets import refuse_mode_alone

            refuse_mode_alone(values)
        return None
    from reserve.cli.control.serving import OwnControl

    return OwnControl(values, signals)


def _state_of(server: Server, control: OwnControl | None) -> Callable[[], dict[str, Any]]:
    """What the supervisor gets that this process becomes (:class:`~reserve.cli.processes.state.State`)."""
    from reserve.control.document import counters_of, plain

    def state() -> dict[str, Any]:
        stats = plain(server.stats())
        return {
            "controls": () if control is None else control.passed(),
            "counts": {"former": counters_of(stats), "uptime": stats["uptime"]},
        }

    return state


def _on_sighup(server: Server, service: Service) -> None:
    """The reaction to SIGHUP."""
    if server.ssl_adapter is None:
        with service.reload("has nothing to reload"):
            server.log.info(
                "SIGHUP: there is nothing to reload; it reloads certificates, and there is no --tls-cert",
                "SIGHUP signals",
            )
    elif service.notifier.is_active:
        service.reload_in_background(server.reload_tls, server.log)
    else:
        server.reload_tls(wait=False)
