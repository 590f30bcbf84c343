"""The command ``reserve``: parses the command line, starts a server, and returns the exit code after it has stopped.

Runs on the main thread. The order of a start is: options, process, certificates, listeners, application, server. The
listeners are opened before the application is imported, because a wrong address must not cost an import with all its
side effects, and because an application may give up the rights that a privileged port needs. If a later step fails, the
listeners are closed and their files removed. Messages go to standard error; standard output belongs to the access log.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn, cast

from reserve.cli.application import configure, gunicorn_line, launch, report_threads, single_thread, url_scheme
from reserve.cli.banner import banner, listener_lines
from reserve.cli.binds import open_listeners
from reserve.cli.console import Console
from reserve.cli.forceexit import ABORTED
from reserve.cli.help import print_help, print_text, print_version
from reserve.cli.parser import (
    CHECK_CONFIG,
    MIGRATE,
    CommandLine,
    app_arguments,
    check_arguments,
    parse_command_line,
)
from reserve.cli.process import changed_directory, prepare_process
from reserve.cli.processes.spawn import become_supervisor, handled_signals
from reserve.cli.processes.state import State, pass_listeners
from reserve.cli.processes.worker import SupervisedWorker
from reserve.cli.proposal import corrected, shell_line
from reserve.cli.server import make_server
from reserve.cli.signals import StopSignals
from reserve.cli.stderrlog import configure_logging, enable_loggers
from reserve.cli.tls import make_adapter
from reserve.errors import Correction, ReserveError, ServerFailed, StartupError, UsageError, safe_str, type_name
from reserve.loader.arguments import Arguments
from reserve.loader.directory import working_directory
from reserve.loader.find import FoundApplication, find
from reserve.loader.shadowing import explain_shadowing
from reserve.options.sources import Values, collect, unknown_variables
from reserve.options.table import FLAGS

if TYPE_CHECKING:
    from reserve.engine.server import Server

__all__ = ["INTERRUPTED", "STOPPED", "main", "run"]

INTERRUPTED = "reserve: interrupted before the server started\n"
STOPPED = "reserve: the server has stopped\n"

_MAX_CORRECTIONS = 8
"""How many mistakes of one command line are corrected before the message proposes it."""
_MAX_NAMES = 5
"""How many unknown environment variables the message names."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command inside another program, and return its exit code.

    Until it returns it handles SIGINT, SIGTERM, SIGHUP and SIGQUIT, and every other signal whose default action would
    end the process (:mod:`reserve.cli.early.signaltable`).

    :param argv: the command line without the name of the program. Default: that of this process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with Console() as console:
        signals = StopSignals(console)
        try:
            signals.install()
            return run(arguments, console, signals)
        except KeyboardInterrupt:  # before run() handles it
            return StartupError.exit_code
        finally:
            signals.close()


def run(argv: Sequence[str], console: Console, signals: StopSignals) -> int:
    """Run the command until its server has stopped.

    :param argv: the command line without the name of the program.
    :param signals: installed, and not closed here. Its ``stop_timeout`` becomes ``--stop-timeout``.
    :returns: the exit code: 0 stopped, 1 could not start, 2 wrong usage, 3 the shutdown aborted requests or left
        threads running, 4 the server could not go on.
    """
    command = None
    try:
        if argv[:1] == [MIGRATE]:
            return _migrate(argv[1:])
        command = parse_command_line(argv)
        if command.arguments[:1] == ("desk",):
            from reserve.apps.desk.newprogram import make_program

            text = make_program(command.arguments[1:], asks_for_help=command.help or command.help_all)
            print_text(text.removesuffix("\n"))
            return 0
        if command.help or command.help_all:
            print_help(command)
            return 0
        if command.version:
            print_version()
            return 0
        if command.task:
            return _without_server(command, console)
        name, arguments = app_arguments(command)
        worker = SupervisedWorker.from_environ(os.environ)
        values = collect(command.given, os.environ, working_directory())
        if worker is None or worker.announces:
            _report_unknown_variables(unknown_variables(os.environ), console)
        signals.stop_timeout = cast("float", values["stop_timeout"])
        if worker is None and values.processes() > 1:
            _supervise(command, values)
        return _serve(name, arguments, command.after, values, console, signals, worker)
    except ReserveError as error:
        signals.ignore()
        console.write(f"reserve: {_message(error, command)}\n")
        return error.exit_code
    except Exception as error:
        explanation = explain_shadowing(error, imported=True)
        if not explanation:
            raise
        signals.ignore()
        console.write(f"reserve: {type_name(error)}: {safe_str(error)}; {explanation}\n")
        return StartupError.exit_code
    except KeyboardInterrupt:
        signals.ignore()
        console.write(signals.line_start() + INTERRUPTED)
        return StartupError.exit_code


def _without_server(command: CommandLine, console: Console) -> int:
    """Run a command that only checks or prints something; return the exit code."""
    check_arguments(command)
    if command.task == CHECK_CONFIG:
        from reserve.cli.config.check import checked_options, refuse_unusable

        directory = working_directory()
        values = collect(command.given, os.environ, directory)
        _report_unknown_variables(unknown_variables(os.environ), console)
        refuse_unusable(values)
        print_text(checked_options(values, directory).removesuffix("\n"))
    else:
        import json

        from reserve.options.schema import file_schema

        print_text(json.dumps(file_schema(), indent=2))
    return 0


def _migrate(words: Sequence[str]) -> int:
    """Print the ``reserve.toml`` for the configuration of another server; return the exit code."""
    from reserve.cli.config.migrate import migrate
    from reserve.options.help import MIGRATE_HELP

    text = MIGRATE_HELP if list(words) in (["-h"], ["--help"], ["--help-all"]) else migrate(words, os.getcwd())
    print_text(text.removesuffix("\n"))
    return 0


def _message(error: ReserveError, command: CommandLine | None) -> str:
    """The text of an error; it ends in the corrected command line, if there is one that probably was meant."""
    if not isinstance(error, (StartupError, UsageError)) or error.correction is None:
        return str(error)
    argv = _correct(command, error.correction)
    if not argv:
        return str(error)
    line = shell_line(argv)
    if error.correction.before:
        line = f"{error.correction.before} && {line}"
    return f"{error.reason}; write: {line}"


def _correct(command: CommandLine | None, correction: Correction | None) -> list[str]:
    """The corrected command line, in which mistakes that can be seen before the start are corrected as well; or empty.

    :param command: None: the mistake was found before the command line was parsed.
    """
    argv: list[str] = []
    for _ in range(_MAX_CORRECTIONS):
        if correction is None:
            break
        better = corrected(command.argv if command else (), command.positions if command else (), correction)
        if not better:
            break
        argv, correction, command = better, None, None
        try:
            command = parse_command_line(argv)
            if not (command.help or command.help_all or command.version):
                check_arguments(command)
                collect(command.given, os.environ, os.getcwd())
        except (StartupError, UsageError) as error:
            correction = error.correction
    return argv


def _supervise(command: CommandLine, values: Values) -> NoReturn:
    """Open the listeners, and become the supervisor of the worker processes that serve them."""
    directory = working_directory()
    with changed_directory(values):
        listeners = open_listeners(values, os.environ)
    from reserve.sockets.listeners import release

    try:
        passed = pass_listeners(listeners, with_files=True)
        become_supervisor(State(argv=command.argv, directory=directory, listeners=passed), handled_signals())
    except OSError as error:
        for sock in listeners.all:
            release(sock)
        raise StartupError(f"the supervisor of the processes cannot be started: {error}") from error


def _serve(
    name: str,
    before: Sequence[str],
    after: Sequence[str],
    values: Values,
    console: Console,
    signals: StopSignals,
    worker: SupervisedWorker | None,
) -> int:
    """Start the server and return the exit code when it has stopped.

    :param before: the arguments of the application before ``--``.
    :param after: those after it.
    :param worker: what a worker process knows of its supervisor; None: it has none.
    """
    announces = worker is None or worker.announces
    prepare_process(values)
    error_log = configure_logging(str(values["log_level"]))
    application = find(name)
    if application.note and announces:
        console.write(f"reserve: {application.note}\n")
    adapter = make_adapter(values)
    with ExitStack() as cleanup:
        listeners = open_listeners(values, os.environ) if worker is None else worker.listeners()
        from reserve.sockets.listeners import release

        for sock in listeners.all:
            cleanup.callback(release, sock)
        arguments = Arguments(
            [f"reserve {name}", *before, *after],
            literal=len(after),
            reserved=[flag for flag in FLAGS if len(flag) > 2],
        )
        handle = _launch(application, arguments, console, values)
        configure(handle, name, values)
        report_threads(handle, values, console)
        enable_loggers()
        text = banner(
            served=arguments.served or [name],
            addresses=listener_lines(listeners, url_scheme(handle), tls=adapter is not None),
            threads=values.engine().thread_range,
            config=values.file,
            single_thread=single_thread(handle),
        )
        server = make_server(listeners, handle, name, values, adapter, error_log)
        # Before the banner, which says that signals stop the server.
        reload = _log_sighup(server) if adapter is None else partial(server.reload_tls, wait=False)
        signals.serve(server, server.log, reload)
        if worker is None:
            console.write(text)
        else:
            worker.serve(server, text)
        exit_code = 0
        try:
            server.start()  # closes the listeners; releasing them once more does nothing
        except ServerFailed as error:  # the error log has its text
            exit_code = error.exit_code
        if worker is None:
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


def _report_unknown_variables(names: Sequence[str], console: Console) -> None:
    if names:
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        variables = "variable" if len(names) == 1 else "variables"
        are_ignored = (
            "is not an option of reserve, and is" if len(names) == 1 else "are not options of reserve, and are"
        )
        listed = ", ".join(names[:_MAX_NAMES])
        console.write(f"reserve: the environment {variables} {listed}{more} {are_ignored} ignored\n")


def _log_sighup(server: Server) -> Callable[[], None]:
    """The reaction to SIGHUP without TLS."""

    def log() -> None:
        server.log.info(
            "SIGHUP: there is nothing to reload; it reloads certificates, and there is no --tls-cert", "SIGHUP signals"
        )

    return log
