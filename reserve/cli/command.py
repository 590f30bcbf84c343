"""The command ``reserve``: parses the command line, decides what runs, and returns the exit code after it has stopped.

Runs on the main thread. A server is prepared, loaded and run by :mod:`reserve.cli.start`. Messages go to standard
error; standard output belongs to the access log.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from reserve.cli.console import Console
from reserve.cli.help import print_help, print_text, print_version
from reserve.cli.logfiles import make_pid_file, reopened
from reserve.cli.parser import (
    CHECK_CONFIG,
    CONTROL,
    MIGRATE,
    SYSTEMD_UNIT,
    TOP,
    CommandLine,
    app_arguments,
    check_arguments,
    parse_command_line,
)
from reserve.cli.process import allow_open_files, too_many_files
from reserve.cli.processes.spawn import program as program_words
from reserve.cli.processes.successor import Origin
from reserve.cli.proposal import corrected, shell_line
from reserve.cli.service import Service
from reserve.cli.signals import StopSignals
from reserve.cli.start import Start, load, prepare, serve
from reserve.daemon.detach import Parent
from reserve.daemon.detach import start as start_daemon
from reserve.errors import Correction, ReserveError, StartupError, UsageError, safe_str, type_name
from reserve.loader.directory import working_directory
from reserve.loader.shadowing import explain_shadowing
from reserve.options.sources import Values, collect, probable_variable, unknown_variables
from reserve.sockets.notify import Notifier

if TYPE_CHECKING:
    from reserve.cli.processes.channel import Channel
    from reserve.cli.processes.worker import SupervisedWorker

__all__ = ["INTERRUPTED", "Program", "main", "preload", "run", "serve_preloaded"]

INTERRUPTED = "reserve: interrupted before the server started\n"

_MAX_CORRECTIONS = 8
"""How many mistakes of one command line are corrected before the message proposes it."""
_MAX_NAMES = 5
"""How many unknown environment variables the message names."""


@dataclass(frozen=True, slots=True)
class Program:
    """The process of the program ``reserve``, which :mod:`reserve.__main__` starts; a command in it may replace it."""

    parent: Parent | None = None
    """The process that waits for this daemon; None: the process is no daemon."""
    under_init: bool = False
    """This program is process 1 of a container, or the server that process 1 has started as its child."""


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


def run(argv: Sequence[str], console: Console, signals: StopSignals, program: Program | None = None) -> int:
    """Run the command until its server has stopped.

    :param argv: the command line without the name of the program.
    :param signals: installed, and not closed here. Its ``stop_timeout`` becomes ``--stop-timeout``.
    :param program: the process of the program ``reserve``; None: the process belongs to another program.
    :returns: the exit code: 0 stopped, 1 could not start, 2 wrong usage, 3 the shutdown aborted requests or left
        threads running, 4 the server could not go on.
    """
    command = worker = None
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
        origin = Origin.of_process(tuple(argv))
        worker = _supervised_worker()
        signals.is_quiet = worker is not None
        values = collect(command.given, os.environ, working_directory())
        if worker is None or worker.announces:
            _report_unknown_variables(unknown_variables(os.environ), console)
        signals.stop_timeout = cast("float", values["stop_timeout"])
        signals.drain_delay = cast("float", values["drain_delay"])
        parent = program.parent if program is not None else None
        if worker is None and parent is None and values["daemon"]:
            return _start_daemon(values, console, program)
        if worker is None and values.need_supervisor():
            from reserve.cli.processes.supervised import supervise

            if values["exit_idle"]:
                raise UsageError(
                    f"{values.given['exit_idle'].source} is for a server of one process, without --preload and "
                    "--reload: a supervisor would start another process at once"
                )
            supervise(command, values, signals, parent)
        announces = worker is None or worker.announces
        notifier = Notifier.from_environ(report=lambda text: console.write(f"reserve: {text}\n"))
        start = prepare(command, name, arguments, values, console, announces)
        pid_file = make_pid_file(values) if worker is None else None
        return serve(start, console, signals, worker, Service(notifier, parent, pid_file), origin)
    except (Exception, KeyboardInterrupt) as error:
        if worker is not None:
            worker.close()
        return _failed(error, command, console, signals)


def preload(argv: Sequence[str], console: Console, *, announces: bool) -> Start | int:
    """Start the command in a process that forks the worker processes then, up to the launched application.

    :param argv: the command line without the name of the program.
    :param announces: whether this process writes what a person reads at a start.
    :returns: for :func:`serve_preloaded`; or the exit code, after a mistake that was reported.
    """
    command = None
    try:
        command = parse_command_line(argv)
        name, arguments = app_arguments(command)
        values = collect(command.given, os.environ, working_directory())
        if announces:
            _report_unknown_variables(unknown_variables(os.environ), console)
        start = prepare(command, name, arguments, values, console, announces, forks_workers=True)
        load(start, console)
        return start
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, command, console, StopSignals(console))


def serve_preloaded(start: Start, channel: Channel, console: Console, signals: StopSignals) -> int:
    """Serve in a forked worker process, and return the exit code: the rest of :func:`run`.

    :param start: what :func:`preload` returned before the fork.
    :param channel: the end of the worker.
    """
    try:
        from reserve.cli.processes.worker import SupervisedWorker

        signals.stop_timeout = cast("float", start.values["stop_timeout"])
        signals.drain_delay = cast("float", start.values["drain_delay"])
        signals.is_quiet = True
        reopened("start")  # they may have been renamed since this process's parent has opened them
        worker = SupervisedWorker(channel)
        allow_open_files(start.values)
        return serve(start, console, signals, worker, Service(Notifier()))
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, start.command, console, signals)


def _failed(
    error: Exception | KeyboardInterrupt, command: CommandLine | None, console: Console, signals: StopSignals
) -> int:
    """Report why the command ends, while the exception is handled, and return the exit code. Raises the exception again
    if it is a fault of the application or of reserve.
    """
    if isinstance(error, ReserveError):
        signals.ignore()
        console.write(f"reserve: {_message(error, command)}\n", level=logging.ERROR)
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        signals.ignore()
        if not signals.is_quiet:
            console.write(signals.line_start() + INTERRUPTED)
        return StartupError.exit_code
    if reason := too_many_files(error):
        signals.ignore()
        console.write(f"reserve: {reason}\n", level=logging.ERROR)
        return StartupError.exit_code
    explanation = explain_shadowing(error, imported=True)
    if not explanation:
        raise
    signals.ignore()
    console.write(f"reserve: {type_name(error)}: {safe_str(error)}; {explanation}\n", level=logging.ERROR)
    return StartupError.exit_code


def _supervised_worker() -> SupervisedWorker | None:
    """What this process knows of its supervisor, if it is a worker process."""
    if "RESERVE_WORKER_FD" not in os.environ:  # nearly every start, which need not import what the others do
        return None
    from reserve.cli.processes.worker import SupervisedWorker

    return SupervisedWorker.from_environ(os.environ)


def _start_daemon(values: Values, console: Console, program: Program | None) -> int:
    """Start the same command in the background, and return the exit code when it serves or has failed."""
    source = values.given["daemon"].source
    if program is None:
        raise UsageError(f"{source} is for the program reserve, which can be started anew; here another program runs")
    if program.under_init:
        raise UsageError(
            f"{source}: this command is process 1 of a container, which ends with it, and would end a process in the "
            f"background as well; leave {source} out"
        )
    if os.environ.get("NOTIFY_SOCKET"):
        console.write(f"reserve: systemd needs no {source}; reserve systemd-unit prints a unit\n")
    exit_code, pid = start_daemon()
    if exit_code == 0:
        console.write(f"reserve: process {pid} serves in the background\n")
    return exit_code


def _without_server(command: CommandLine, console: Console) -> int:
    """Run a command that only checks or prints something; return the exit code."""
    check_arguments(command)
    if command.task == CHECK_CONFIG:
        from reserve.cli.config.check import checked_options, refuse_unusable, warnings

        directory = working_directory()
        values = collect(command.given, os.environ, directory)
        _report_unknown_variables(unknown_variables(os.environ), console)
        refuse_unusable(values)
        for text in warnings(values):
            console.write(f"reserve: {text}\n")
        print_text(checked_options(values, directory).removesuffix("\n"))
    elif command.task == SYSTEMD_UNIT:
        _print_units(command)
    elif command.task == TOP:
        from reserve.cli.control.top import run_top

        return run_top(command)
    elif command.task in CONTROL:
        from reserve.cli.control.main import run_control

        print_text(run_control(command))
    else:
        import json

        from reserve.options.schema import file_schema

        print_text(json.dumps(file_schema(), indent=2))
    return 0


def _print_units(command: CommandLine) -> None:
    """Print or write the units of systemd for a command line."""
    from reserve.cli.config.check import refuse_unusable
    from reserve.cli.config.systemdunit import parse_unit_request, units

    request, directory = parse_unit_request(command), working_directory()
    values = collect(command.given, os.environ, directory)
    texts = units(request, values, directory, os.environ, program_words())
    refuse_unusable(values)
    if request.directory:
        for name, text in texts.items():
            path = os.path.join(directory, request.directory, name)
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(text)
            except FileExistsError:
                raise StartupError(f"{path} exists; remove it, or choose another --name") from None
            except OSError as error:
                raise StartupError(f"cannot write {path}: {error.strerror or error}") from error
    if not request.directory:
        head = "# /etc/systemd/system/"
        print_text("\n".join(f"{head}{name}\n{text}" for name, text in texts.items()).removesuffix("\n"))


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
    line = shell_line(argv, error.correction.prefix)
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


def _report_unknown_variables(names: Sequence[str], console: Console) -> None:
    if names:
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        variables = "variable" if len(names) == 1 else "variables"
        are_ignored = (
            "is not an option of reserve, and is" if len(names) == 1 else "are not options of reserve, and are"
        )
        meant = [(name, probable_variable(name)) for name in names[:_MAX_NAMES]]
        listed = ", ".join(f"{name} (did you mean {other}?)" if other else name for name, other in meant)
        console.write(f"reserve: the environment {variables} {listed}{more} {are_ignored} ignored\n")
