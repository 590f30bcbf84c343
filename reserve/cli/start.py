"""A start of the command, from the process to the end of its server. :mod:`reserve.cli.command` has decided what runs.

Runs on the main thread. The order of a start is: process, certificates, listeners, application, server. The listeners
are opened before the application is imported, because a wrong address must not cost an import with all its side
effects, and because an application may give up the rights that a privileged port needs. If a later step fails, the
listeners are closed and their files removed.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from reserve.cli.application import (
    GILWatch,
    configure,
    gunicorn_line,
    launch,
    report_threads,
    single_thread,
    straight_line_form,
    url_scheme,
)
from reserve.cli.banner import banner, listener_lines, url_for_browser
from reserve.cli.binds import Listeners, open_listeners
from reserve.cli.config.hooks import load_hooks
from reserve.cli.console import Console
from reserve.cli.control.monitoring import Monitoring
from reserve.cli.forceexit import ABORTED, ForceExit
from reserve.cli.logfiles import open_log_files, redirect_stderr
from reserve.cli.parser import CommandLine
from reserve.cli.privileges import account, drop_privileges
from reserve.cli.process import prepare_process
from reserve.cli.processes.successor import Origin, Succession
from reserve.cli.proposal import shell_line
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
    announces: bool = True
    """This process writes what a person reads at a start."""
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
    return Start(
        command, name, before, values, error_log, application, adapter, announces=announces, error_file=error_file
    )


def load(start: Start, console: Console) -> None:
    """Give up the rights of root if the options say so, and import, launch and configure the application."""
    drop_privileges(start.values)
    arguments = Arguments(
        [f"reserve {start.name}", *start.before, *start.command.after],
        literal=len(start.command.after),
        reserved=[flag for flag in FLAGS if len(flag) > 2],
    )
    with GILWatch() as watch:
        start.handle = _launch(start.application, arguments, console, start.values)
        configure(start.handle, start.name, start.values)
        report_threads(start.handle, start.values, console)
        start.hooks = load_hooks(start.values, start.handle, start.name, start.error_log)
    line = watch.line(shell_line(start.command.argv))
    if line and start.announces:
        console.write(f"reserve: {line}\n", level=logging.WARNING)
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
    with ExitStack() as cleanup:
        serving = _Serving(start, console, signals, worker, service, cleanup)
        serving.open()
        if not start.is_loaded:
            load(start, console)
        serving.make_server()
        succession = serving.obey_signals(origin)  # before the banner, which says that signals stop the server
        serving.announce()
        exit_code = serving.run()
        serving.end(succession)
    if exit_code:
        return exit_code
    return ABORTED if serving.server.aborted else 0


class _Serving:
    """One server of the command, from its listeners to its end; :func:`serve` makes it, and calls the methods in their
    order. The parameters are those of :func:`serve`.

    :param cleanup: closes what is opened, when the server has stopped or has not started.
    """

    def __init__(
        self,
        start: Start,
        console: Console,
        signals: StopSignals,
        worker: SupervisedWorker | None,
        service: Service,
        cleanup: ExitStack,
    ) -> None:
        self._start = start
        self._values = start.values
        self._console = console
        self._signals = signals
        self._worker = worker
        self._service = service
        self._cleanup = cleanup
        self._control: OwnControl | None = None
        self._listeners: Listeners
        self._addresses: list[str] = []
        """Where it listens, as the banner shows it."""
        self._monitoring: Monitoring
        self.server: Server

    def open(self) -> None:
        """Open the listeners and the control sockets, before the application is imported, which may take long."""
        from reserve.sockets.listeners import release

        worker, service = self._worker, self._service
        self._listeners = open_listeners(self._values, os.environ) if worker is None else worker.listeners()
        for sock in self._listeners.all:
            self._cleanup.callback(release, sock)
        self._cleanup.callback(service.close)
        control = self._control = _control(self._values, self._signals) if worker is None else None
        if control is not None:
            self._cleanup.callback(control.close)
        service.start(" ".join((self._start.name, *self._start.before)))
        if control is not None:
            control.start()
        if worker is not None:
            worker.begin()

    def make_server(self) -> None:
        """Make the server of the loaded application, and what watches it."""
        start, values, worker = self._start, self._values, self._worker
        hooks = cast("Hooks", start.hooks)
        self._addresses = listener_lines(self._listeners, url_scheme(start.handle), tls=start.adapter is not None)
        self._monitoring = Monitoring(self._listeners.metrics, values, hooks)
        self._cleanup.callback(self._monitoring.stop)
        waits = self._service.is_active or worker is not None or start.error_file is not None
        if waits or self._monitoring.is_wanted:
            hooks = dataclasses.replace(hooks, on_ready=partial(self._on_ready, hooks.on_ready))
        slot = None if worker is None else worker.slot()
        self.server = make_server(self._listeners, start.handle, start.name, values, start.adapter, hooks, slot)

    def _on_ready(self, hook: Callable[[], object]) -> None:
        """The server accepts connections: tell those that wait for it. On the thread that starts it.

        :param hook: of the options.
        """
        start, server, worker = self._start, self.server, self._worker
        addresses = ", ".join(address.split()[0] for address in self._addresses)
        redirect_stderr(start.error_file)
        self._service.ready(
            f"serves {', '.join(start.served)} on {addresses}", lambda: server.healthy or server.retiring
        )
        if worker is not None and self._values["daemon"]:
            null_streams(keep_files=True)  # as the supervisor does
        if worker is not None:
            worker.ready()
        self._monitoring.start(server)
        hook()

    def obey_signals(self, origin: Origin | None) -> Succession | None:
        """From now on signals and the control sockets have their effect on the server.

        :returns: what reloads the server by a successor; None: a supervisor does it, or nothing does.
        """
        server, signals, service, worker = self.server, self._signals, self._service, self._worker
        stoppable = service.announcing(server, signals.stop_timeout, signals.drain_delay)
        if worker is not None:
            if signals.force_exit is not None:
                signals.force_exit.report_by(worker.report)
            refer = partial(worker.log_hand_over, server.log)
            signals.serve(stoppable, server.log, partial(worker.recycle, "SIGHUP was sent to it"), refer)
            return None
        if origin is None or signals.force_exit is None or self._values["exit_idle"] or not Succession.is_possible():
            reload: Callable[[], object] = partial(_on_sighup, server, service)
            signals.serve(stoppable, server.log, reload)
            if self._control is not None:
                self._control.serve(server, reload)
            return None
        succession = self._make_succession(origin, signals.force_exit)
        stoppable = service.announcing(succession, signals.stop_timeout, signals.drain_delay)
        signals.serve(stoppable, server.log, succession.reload, succession.reload)
        if self._control is not None:
            self._control.serve(server, succession.reload, succession.hand_over)
        return succession

    def _make_succession(self, origin: Origin, force_exit: ForceExit) -> Succession:
        """What starts a successor at a reload, and tells of both processes then."""
        console, control = self._console, self._control
        from reserve.cli.processes.handover import HandOver  # later: `reserve status` needs none of it

        hand_over = HandOver(self.server, lambda text: console.write(f"reserve: {text}\n", 0))
        hand_over.on_begin = self._monitoring.hand_over
        self.server.collector = hand_over
        return Succession(
            self.server,
            self._listeners,
            origin,
            cast("float", self._values["keep_alive"]),
            console,
            self._signals,
            force_exit,
            self._service.notifier,
            hand_over=hand_over,
            controls=tuple if control is None else control.passed,
        )

    def announce(self) -> None:
        """Write the banner, or have the supervisor write it, and open the page in a browser if the options say so."""
        start, values, worker, server = self._start, self._values, self._worker, self.server
        text = banner(
            served=start.served,
            addresses=self._addresses,
            threads=values.engine().thread_range,
            config=values.file,
            single_thread=single_thread(start.handle),
            processes=0 if worker is None else worker.processes,
            daemon=os.getpid() if worker is None and values["daemon"] else 0,
            form=straight_line_form(start.handle),
        )
        tls = start.adapter is not None
        scheme, root_path = url_scheme(start.handle), str(values["root_path"])
        url = url_for_browser(self._listeners.main, scheme, tls=tls, root_path=root_path)
        open_page = partial(open_when_ready, server, url, self._console)
        if worker is not None:
            worker.serve(server, text, values, open_page)
            return
        self._console.write(text)
        if values["open"]:
            open_page()

    def run(self) -> int:
        """Serve until the server has stopped, and return the exit code of its failure; 0: it has not failed."""
        exit_code = 0
        try:
            self.server.start()  # closes the listeners; releasing them once more does nothing
        except ServerFailed as error:  # the error log has its text
            exit_code = error.exit_code
            self._service.notifier.failed(str(error))
        if self._worker is not None:
            self._worker.ended()
        return exit_code

    def end(self, succession: Succession | None) -> None:
        """The server has stopped: the process ends, or becomes the supervisor of its successor."""
        if succession is not None and succession.end():
            self._service.hand_over()
            if self._control is not None:
                self._control.hand_over()
        elif self._worker is None:
            self._console.write(STOPPED, last=True)


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
