"""The program ``sdlaunch``: opens listeners, optionally goes into the background, and executes another command.

It has one thread. The command gets the sockets as descriptors from 3 on, as sd_listen_fds(3) describes. So it can be
any program that supports systemd's socket activation, and it needs no right to open privileged ports. If a step fails,
no socket file, no pid file and no background process remain. To start fast, it imports no library for arguments, and
only the listeners of reserve.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

from reserve.daemon.detach import leave_session, null_streams
from reserve.daemon.pidfile import write
from reserve.errors import ReserveError, StartupError, UsageError
from reserve.sockets.listeners import listen, release

__all__ = ["main"]

_FIRST_FD = 3
_USAGE = """\
usage: sdlaunch -b ADDRESS [-b ADDRESS ...] [options] [--] COMMAND [ARGUMENT ...]

Opens listening sockets and runs COMMAND, which gets them as descriptors 3, 4, ... (LISTEN_FDS, LISTEN_PID and
LISTEN_FDNAMES are set, as systemd does for socket activation).

  -b, --bind ADDRESS    HOST:PORT, [IPV6]:PORT, :PORT (all interfaces), unix:PATH, unix:@NAME (abstract), fd:N;
                        an argument with a slash is the path of a UNIX socket. May be given several times.
  -d, --daemonize       run COMMAND in the background, in a new session and with its standard streams on /dev/null;
                        sdlaunch exits with 0 once COMMAND runs
  -p, --pid-file FILE   write the process ID of COMMAND to FILE
  --unix-mode MODE      permission bits of the UNIX sockets, in octal: 660. Default: what the umask leaves
  --unix-owner OWNER    owner of the UNIX sockets: USER, USER:GROUP or :GROUP. Default: the user
                        and group of sdlaunch
  -h, --help            print this text
  --version             print the version

Exit codes: 2 wrong usage; 1 a socket, the pid file or the background process could not be created; 127 COMMAND was
not found; 126 COMMAND cannot be executed; otherwise the exit code of COMMAND.

  sdlaunch -b '[::]:80' -- reserve app http wsgi blog --threads 16
"""


class _Options(NamedTuple):
    """The parsed command line."""

    addresses: list[str]
    command: list[str]
    daemonize: bool
    pid_file: str | None
    unix_mode: int | None
    unix_owner: str | None


class _ExecError(StartupError):
    """The command could not be executed; the exit codes are those of a POSIX shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(argv: list[str] | None = None) -> int:
    """Open the sockets and execute the command. It returns only if the command is not executed in this process.

    :param argv: the command line without the name of the program. Default: that of this process.
    :returns: the exit code: 0 after ``-h``, ``--version`` and in the parent of a daemon; 1, 2, 126 or 127 after an
        error, with one sentence on standard error.
    """
    try:
        options = _parse(sys.argv[1:] if argv is None else argv)
        if isinstance(options, str):
            sys.stdout.write(options)
            return 0
        if not hasattr(os, "fork"):
            raise StartupError("sdlaunch passes descriptors on through fork and exec, which this system does not have")
        if options.daemonize and os.getpid() == 1:
            raise UsageError(
                "-d: this command is process 1 of a container, which ends with it, and would end a process in the "
                "background as well; leave -d out"
            )
        sockets = listen(*options.addresses, unix_mode=options.unix_mode, unix_owner=options.unix_owner)
        try:
            if options.daemonize:
                _start_daemon(options, sockets)
                for sock in sockets:
                    sock.close()  # the file of a UNIX socket stays, because the daemon listens on it
                return 0
            _exec_command(options, sockets)
        except BaseException:
            for sock in sockets:
                release(sock)
            raise
    except ReserveError as exc:
        hint = " (sdlaunch -h shows how)" if isinstance(exc, UsageError) else ""
        if sys.stderr is not None:  # else descriptor 2 is not standard error
            with suppress(OSError):  # not buffered, because a buffer that cannot be flushed would change the exit code
                os.write(2, f"sdlaunch: {exc}{hint}\n".encode(errors="backslashreplace"))
        return exc.exit_code


def _parse(argv: list[str]) -> _Options | str:
    """Parse the options up to ``--`` or the command; a text is to be printed instead of executing a command."""
    addresses: list[str] = []
    values: dict[str, str] = {}
    daemonize = False
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "--"):
        name, value = _split(rest.pop(0), rest)
        if name == "--help":
            return _USAGE
        if name == "--version":
            from reserve import __version__

            return f"sdlaunch of reserve {__version__}\n"
        if name == "--daemonize":
            daemonize = True
        elif name == "--bind":
            addresses.append(_address(value))
        else:
            values[name] = value
    if rest and rest[0] == "--":
        del rest[0]
    if not addresses:
        raise UsageError("no address to open; give at least one, as in -b '[::]:80'")
    if not rest:
        raise UsageError("no command to run; it comes after the options, as in -b :80 -- COMMAND")
    return _Options(
        addresses,
        rest,
        daemonize,
        values.get("--pid-file"),
        _mode(values["--unix-mode"]) if "--unix-mode" in values else None,
        values.get("--unix-owner"),
    )


_SHORT = {"-b": "--bind", "-d": "--daemonize", "-h": "--help", "-p": "--pid-file"}
_FLAGS = {"--daemonize", "--help", "--version"}
_WITH_VALUE = {"--bind", "--pid-file", "--unix-mode", "--unix-owner"}


def _split(argument: str, rest: list[str]) -> tuple[str, str]:
    """Split an option into its long name and its value, which may be in the same argument or in the next one.

    :param rest: the arguments that follow; a value is removed from it.
    """
    if argument.startswith("--"):
        name, equals, value = argument.partition("=")
    else:
        name, value = _SHORT.get(argument[:2], argument), argument[2:]
        equals = value
        if name in _FLAGS and value:  # -dp FILE is -d -p FILE
            rest.insert(0, f"-{value}")
            equals = value = ""
    if name in _FLAGS:
        if equals:
            raise UsageError(f"the option {name} takes no value, but got {value!r}")
        return name, ""
    if name not in _WITH_VALUE:
        raise UsageError(f"there is no option {name}; put -- before a command that starts with a dash")
    if not equals:
        if not rest or rest[0] == "--":
            raise UsageError(f"the option {name} needs a value")
        value = rest.pop(0)
    if not value:
        raise UsageError(f"the option {name} has an empty value")
    return name, value


def _address(text: str) -> str:
    return f"unix:{text}" if "/" in text and "://" not in text and not text.startswith("unix:") else text


def _mode(text: str) -> int:
    digits = text[2:] if text.startswith("0o") else text
    if not digits or len(digits) > 4 or set(digits) - set("01234567"):
        raise UsageError(f"--unix-mode {text!r} is not a number of up to four octal digits, as in 660")
    return int(digits, 8)


def _names(sockets: list[socket.socket]) -> str:
    """The value of LISTEN_FDNAMES: a name for each socket, by the rules of sd_listen_fds_with_names(3)."""
    return ":".join(map(_name, sockets))


def _name(sock: socket.socket) -> str:
    """The name of a socket: ``port-80``, ``127.0.0.1-port-80`` or ``unix-/run/x.sock``.

    It has no colon and at most 255 characters, as sd_listen_fds_with_names(3) demands. The address is part of it for
    IPv4 addresses of one interface.
    """
    name = sock.getsockname()
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"port-{port}" if ":" in host or host == "0.0.0.0" else f"{host}-port-{port}"
    path = f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name
    text = f"unix-{path}".replace(":", "-")
    return text if len(text) <= 255 and text.isascii() and text.isprintable() else "unknown"


def _exec_command(options: _Options, sockets: list[socket.socket]) -> NoReturn:
    """Write the pid file, move the sockets to their descriptors, and execute the command.

    :raises StartupError: one of these steps failed. The pid file is removed again.
    """
    pid = os.getpid()
    if options.pid_file is not None:
        write(options.pid_file, pid, "-p")
    try:
        _move_to_descriptors(sockets)
        environ = dict(os.environ)
        environ["LISTEN_FDS"] = str(len(sockets))
        environ["LISTEN_PID"] = str(pid)
        environ["LISTEN_FDNAMES"] = _names(sockets)
        # CPython ignores these two signals, and a signal that is ignored stays ignored after an exec.
        for name in ("SIGPIPE", "SIGXFSZ"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        if sys.stdout is not None:
            sys.stdout.flush()
        _exec(options.command, environ)
    except BaseException:
        if options.pid_file is not None:
            os.unlink(options.pid_file)
        raise


def _exec(command: list[str], environ: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, environ)
    except (FileNotFoundError, NotADirectoryError) as exc:
        hint = "the interpreter in its first line may be missing" if os.path.exists(command[0]) else "check the name"
        hint = hint if "/" in command[0] else "it is in no directory of PATH"
        raise _ExecError(f"the command {command[0]!r} was not found; {hint}", 127) from exc
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise _ExecError(f"the command {command[0]!r} cannot be executed: {reason}", 126) from exc


def _move_to_descriptors(sockets: list[socket.socket]) -> None:
    """Duplicate the sockets to descriptors 3, 4, ...; the kernel closes the originals on exec."""
    import fcntl

    # First to higher numbers: a socket may have the number that another socket is about to get.
    above = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FD + len(sockets)) for sock in sockets]
    for number, fd in enumerate(above, _FIRST_FD):
        os.dup2(fd, number, inheritable=True)


def _start_daemon(options: _Options, sockets: list[socket.socket]) -> None:
    """Fork, and return when the background process has executed the command.

    :raises StartupError: the command could not be executed.
    """
    reader, writer = os.pipe()
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as exc:
        os.close(reader)
        os.close(writer)
        raise StartupError(f"cannot start a background process: {exc.strerror}") from exc
    if child == 0:
        _run_daemon(options, sockets, writer)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as pipe:
        # It ends when the exec closes the other end, or after the reason why the exec failed.
        code, _, reason = pipe.read().partition(b" ")
    if code:
        raise _ExecError(reason.decode(errors="replace"), int(code))


def _run_daemon(options: _Options, sockets: list[socket.socket], writer: int) -> NoReturn:
    """In the child: start a new session, fork again so that the process cannot get a terminal, and execute the command.

    :param writer: a pipe to the parent, which reads why the command could not be executed.
    """
    code, reason = 1, "the background process failed"
    try:
        leave_session()
        null_streams()
        # The pipe must not have the number of one of the sockets.
        import fcntl

        writer = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD + len(sockets))
        _exec_command(options, sockets)
    except ReserveError as exc:
        code, reason = exc.exit_code, str(exc)
    except BaseException as exc:
        reason = f"the background process failed: {exc!r}"
    finally:
        try:
            os.write(writer, f"{code} {reason}".encode(errors="replace"))
        finally:
            os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
