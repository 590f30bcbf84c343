"""The command ``reserve``: from words to a running server, and from a signal to its end.

Runs on the main thread. The order is: options, directory and variables, certificates, sockets, application, server.
Sockets come before the application because a wrong or busy address must not cost an import with all its side effects,
and because a privileged port may have to be opened before an application gives up its rights. Whatever fails
afterwards releases the sockets and their files again. Everything for people goes to standard error; standard output is
the access log's.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, cast

from reserve import __version__
from reserve.cli.banner import banner, places
from reserve.cli.binds import Bound, https_port, open_sockets
from reserve.cli.console import Console
from reserve.cli.forceexit import ABORTED
from reserve.cli.parser import CommandLine, app_words, scan
from reserve.cli.signals import StopSignals
from reserve.cli.stderrlog import StderrLog
from reserve.cli.tls import make_adapter
from reserve.engine.logs.linestream import LineStream
from reserve.errors import ReserveError, StartupError, UsageError
from reserve.loader.arguments import Arguments
from reserve.loader.find import Application, bundled_names, find, put_directory_first
from reserve.loader.importer import cannot_take, describe_exit, hint_for_nothing, shown
from reserve.loader.shadowing import explain_hiding
from reserve.options.help import help_text
from reserve.options.sources import Values, collect, unknown_variables
from reserve.options.table import FLAGS

if TYPE_CHECKING:
    from reserve.engine.server import Server
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["INTERRUPTED", "main", "run"]

INTERRUPTED = "reserve: interrupted before it served\n"

_HANDLER = "a handler(socket, client_address, server)"
_NAMES = 5
"""Variables that are no options, and are named: in one line."""
_OPEN_FILES = 1048576
"""Descriptors that are asked for at most."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command inside a program of somebody else's, and return its exit code.

    :param argv: the words after the program's name. Default: those of this process.
    """
    line = list(sys.argv[1:] if argv is None else argv)
    with Console() as console:
        signals = StopSignals(console)
        try:
            signals.open()
            return run(line, console, signals)
        except KeyboardInterrupt:  # in the first line
            return StartupError.exit_code
        finally:
            signals.close()


def run(line: Sequence[str], console: Console, signals: StopSignals, patience: list[float] | None = None) -> int:
    """Run the command until its server has stopped.

    :param line: the words after the program's name.
    :param signals: open, and left open.
    :param patience: its one number becomes ``--stop-timeout``, in seconds, as soon as that is known.
    :returns: the exit code: 0 stopped cleanly, 1 could not start, 2 wrong usage, 3 the stop broke off requests or left
        threads behind.
    """
    try:
        command = scan(line)
        if command.help:
            _print(_help(command).removesuffix("\n"))
            return 0
        if command.version:
            _print(f"reserve {__version__}")
            return 0
        name, words = app_words(command)
        values = collect(command.given, os.environ, os.getcwd())
        _tell_of_variables(unknown_variables(os.environ), console)
        if patience is not None:
            patience[:] = [cast("float", values["stop_timeout"])]
        return _serve(name, words, command.after, values, console, signals)
    except ReserveError as error:
        signals.calm()
        console.say(f"reserve: {error}\n")
        return error.exit_code
    except Exception as error:
        hidden = explain_hiding(error, imported=True)
        if not hidden:
            raise
        signals.calm()
        console.say(f"reserve: {type(error).__name__}: {error}; {hidden}\n")
        return StartupError.exit_code
    except KeyboardInterrupt:
        signals.calm()
        console.say(INTERRUPTED)
        return StartupError.exit_code


def _serve(
    name: str, words: Sequence[str], after: Sequence[str], values: Values, console: Console, signals: StopSignals
) -> int:
    _prepare_process(values)
    _log_to_stderr(str(values["log_level"]))
    application = find(name)
    if application.note:
        console.say(f"reserve: {application.note}\n")
    adapter = make_adapter(values)
    with ExitStack() as cleanup:
        bound = open_sockets(values, os.environ)
        from reserve.sockets.listeners import release

        for sock in bound.all:
            cleanup.callback(release, sock)
        args = Arguments(
            [f"reserve {name}", *words, *after], literal=len(after), reserved=[flag for flag in FLAGS if len(flag) > 2]
        )
        try:
            handle = application.launch(args)
        except SystemExit as error:
            # Without a line for one that speaks for itself, or was asked for its help.
            asked = {"-h", "--help"} & {*words, *after}
            if not isinstance(error.code, str) and (error.code or not asked):
                console.say(f"reserve: {' '.join([name, *words])} {describe_exit(error)}\n")
            raise
        _configure(handle, name, values)
        _wake_loggers()
        scheme = getattr(application.module, "URL_SCHEME", "")
        text = banner(
            served=args.served or [name],
            places=places(bound, scheme, tls=adapter is not None),
            threads=values.engine().thread_range,
        )
        server = _make_server(bound, handle, name, values, adapter)
        patience = cast("float", values["stop_timeout"])
        # Before the banner, which says that they do.
        signals.stops(server, patience, _tell_of_hang_up(server) if adapter is None else server.tls.look_now)
        console.say(text)
        server.start()  # it closes the sockets when it ends; releasing them once more does nothing
    return ABORTED if server.aborted else 0


def _tell_of_variables(names: Sequence[str], console: Console) -> None:
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        are = "is no option" if len(names) == 1 else "are no options"
        console.say(f"reserve: {', '.join(names[:_NAMES])}{more} in the environment {are} of reserve, and left alone\n")


def _tell_of_hang_up(server: Server) -> Callable[[], None]:
    def tell() -> None:
        server.log.info("SIGHUP: there is nothing to reload; it loads certificates again, and there is no --tls-cert")

    return tell


def _prepare_process(values: Values) -> None:
    directory = values["chdir"]
    if directory is not None:
        try:
            os.chdir(str(directory))
        except OSError as error:
            source = values.given["chdir"].source
            raise StartupError(f"{source}: cannot change to {directory}: {error.strerror or error}") from error
    spool = values["spool_dir"]
    if spool is not None and not (os.path.isdir(str(spool)) and os.access(str(spool), os.W_OK | os.X_OK)):
        source = values.given["spool_dir"].source
        raise StartupError(f"{source}: {spool} is not a directory that this process may write to")
    os.environ.update(dict(cast("tuple[tuple[str, str], ...]", values["env"])))
    _raise_open_files()
    put_directory_first()


def _raise_open_files() -> None:
    """Take as many descriptors as the system allows this process: every connection is one, and 1,024 are soon gone."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system with a limit of its own below the hard one: serve with less
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _configure(handle: object, name: str, values: Values) -> None:
    configure = getattr(handle, "configure", None)
    if configure is not None:
        configure(values.application())
        return
    given = values.given_for_application()
    if given:
        kind = "HTTP applications (reserve app http)"
        raise UsageError(f"{given[0].source} is for {kind}; the application {name} has no use for it")
    if not callable(handle) and not hasattr(handle, "make_driver"):
        hint = hint_for_nothing(name, "it") if handle is None else ""
        raise StartupError(f"{name} gave {shown(handle)}, which is not {_HANDLER}{hint}")
    reason = cannot_take(handle, 3) if callable(handle) and not hasattr(handle, "make_driver") else ""
    if reason:
        hint = "" if cannot_take(cast("Callable[..., Any]", handle), 2) else f"reserve app http wsgi {name}"
        hint = f"; to serve it with WSGI write: {hint}" if hint else ""
        raise StartupError(f"{name} cannot be called as {_HANDLER}: {reason}{hint}")


def _make_server(bound: Bound, handle: object, name: str, values: Values, adapter: SSLAdapter | None) -> Server:
    from reserve.engine.server import Server

    extra = []
    port = values["redirect_port"]
    if bound.redirects:
        redirection = getattr(handle, "redirection", None)
        if redirection is None:
            raise UsageError(
                f"redirects to https (--redirect-http) are for HTTP applications (reserve app http), not for {name}"
            )
        extra.append((bound.redirects, redirection(cast("int | None", port) or https_port(bound.main))))
    elif port is not None:
        source = values.given["redirect_port"].source
        raise UsageError(f"{source} is for redirects to https, and there are none: --redirect-http ADDR")
    server = Server(
        bound.main, cast("Any", handle), without_tls=bound.plain, extra=extra, settings=values.engine(), own=True
    )
    server.ssl_adapter = adapter
    return server


def _print(text: str) -> None:
    if sys.stdout is not None:
        LineStream(sys.stdout).write([text])  # a pager that was left early is no error


def _help(command: CommandLine) -> str:
    words = command.words
    if words[:1] != ("app",) or len(words) == 1 or words[1].startswith("-"):
        return help_text(names=tuple(bundled_names()))
    program = " ".join(word for word in words[1:4] if not word.startswith("-"))
    application = find(words[1]) if words[1] in bundled_names() else Application(name=words[1], module=None)
    return help_text(program, arguments=getattr(application.module, "ARGUMENTS", ""))


def _log_to_stderr(level: str) -> None:
    logger = logging.getLogger("reserve")
    # Without a standard error (pythonw) there is nobody to tell.
    logger.handlers[:] = [logging.NullHandler() if sys.stderr is None else StderrLog(sys.stderr)]
    logger.setLevel(level.upper())
    logger.propagate = False  # else an application that configures the root logger would double every line


def _wake_loggers() -> None:
    """``logging.config`` in an application disables every logger that exists by default, silencing the error log."""
    for name in list(logging.root.manager.loggerDict):
        if name == "reserve" or name.startswith("reserve."):
            logging.getLogger(name).disabled = False
