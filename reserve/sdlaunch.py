"""The command ``sdlaunch``: open listening sockets, become a daemon if asked, then become the command.

One thread from start to exec. The command finds its sockets from descriptor 3 on, as sd_listen_fds(3) describes, so
it needs no right to open privileged ports and any program that knows systemd's socket activation can be started.
Nothing is left behind when a step fails: no socket file, no pid file, no background process. Start-up stays light:
no argument parser library, and nothing of reserve but its listeners.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

from reserve.errors import ReserveError, StartupError, UsageError
from reserve.sockets.listeners import listen, release

__all__ = ["main"]

_FIRST = 3
_USAGE = """\
usage: sdlaunch -b ADDRESS [-b ADDRESS ...] [options] [--] COMMAND [ARGUMENT ...]

Opens listening sockets and runs COMMAND, which finds them as descriptors 3, 4, ... (LISTEN_FDS, LISTEN_PID and
LISTEN_FDNAMES are set, as systemd does for socket activation).

  -b, --bind ADDRESS    HOST:PORT, [IPV6]:PORT, :PORT (all interfaces), unix:PATH, unix:@NAME (abstract), fd:N;
                        a word with a slash is the path of a UNIX socket. May be given several times.
  -d, --daemonize       run COMMAND in the background, in a session of its own and with its standard streams on
                        /dev/null; sdlaunch ends with 0 once COMMAND runs
  -p, --pid-file FILE   write the process number of COMMAND to FILE
  --unix-mode MODE      permission bits of the UNIX sockets, in octal: 660. Default: what the umask leaves
  --unix-owner OWNER    owner of the UNIX sockets: USER, USER:GROUP or :GROUP. Default: who runs sdlaunch
  -h, --help            print this text
  --version             print the version

Exit codes: 2 wrong usage, 1 a socket, the pid file or the background process could not be had, 127 COMMAND was not
found, 126 COMMAND cannot be executed; otherwise what COMMAND returns.

  sdlaunch -b '[::]:80' -- reserve app http wsgi blog --threads 16
"""


class _Job(NamedTuple):
    addresses: list[str]
    command: list[str]
    daemonize: bool
    pid_file: str | None
    unix_mode: int | None
    unix_owner: str | None


class _ExecError(StartupError):
    """COMMAND did not start; the exit codes are those of a POSIX shell."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(argv: list[str] | None = None) -> int:
    """Run the command line; on success it does not return, but becomes the command.

    :param argv: the words after the program's name. Default: those of this process.
    :returns: the exit code: 0 after ``-h``, ``--version`` and in the parent of a daemon; 1, 2, 126 or 127 after an
        error, which is told on stderr in one sentence.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        job = _parse(words)
        if isinstance(job, str):
            sys.stdout.write(job)
            return 0
        if not hasattr(os, "fork"):
            raise StartupError("sdlaunch hands descriptors over through fork and exec, which this system does not have")
        sockets = listen(*job.addresses, unix_mode=job.unix_mode, unix_owner=job.unix_owner)
        try:
            if job.daemonize:
                _start_daemon(job, sockets)
                for sock in sockets:
                    sock.close()  # Only our copies; a socket file stays, because the daemon listens there.
                return 0
            _become(job, sockets)
        except BaseException:
            for sock in sockets:
                release(sock)
            raise
    except ReserveError as exc:
        hint = " (sdlaunch -h shows how)" if isinstance(exc, UsageError) else ""
        if sys.stderr is not None:  # else descriptor 2 is not ours to write to
            with suppress(OSError):  # past the buffer, whose end would be another exit code
                os.write(2, f"sdlaunch: {exc}{hint}\n".encode(errors="backslashreplace"))
        return exc.exit_code


def _parse(words: list[str]) -> _Job | str:
    """Read the options up to ``--`` or the command; a text is to be printed instead of running anything."""
    addresses: list[str] = []
    single: dict[str, str] = {}
    daemonize = False
    rest = list(words)
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
            single[name] = value
    if rest and rest[0] == "--":
        del rest[0]
    if not addresses:
        raise UsageError("no address to open; give at least one, as in -b '[::]:80'")
    if not rest:
        raise UsageError("no command to run; it comes after the options, as in -b :80 -- COMMAND")
    return _Job(
        addresses,
        rest,
        daemonize,
        single.get("--pid-file"),
        _mode(single["--unix-mode"]) if "--unix-mode" in single else None,
        single.get("--unix-owner"),
    )


_SHORT = {"-b": "--bind", "-d": "--daemonize", "-h": "--help", "-p": "--pid-file"}
_FLAGS = {"--daemonize", "--help", "--version"}
_WITH_VALUE = {"--bind", "--pid-file", "--unix-mode", "--unix-owner"}


def _split(word: str, rest: list[str]) -> tuple[str, str]:
    """Take an option apart: its long name and its value, which may be in the same word or in the next one."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
    else:
        name, value = _SHORT.get(word[:2], word), word[2:]
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


def _address(word: str) -> str:
    return f"unix:{word}" if "/" in word and "://" not in word and not word.startswith("unix:") else word


def _mode(text: str) -> int:
    digits = text[2:] if text.startswith("0o") else text
    if not digits or len(digits) > 4 or set(digits) - set("01234567"):
        raise UsageError(f"--unix-mode {text!r} is not a number of up to four octal digits, as in 660")
    return int(digits, 8)


def _names(sockets: list[socket.socket]) -> str:
    """A name for each socket, within the rules of sd_listen_fds_with_names(3): no colon, at most 255 characters."""
    return ":".join(map(_name, sockets))


def _name(sock: socket.socket) -> str:
    """``port-80``, with the address in front where it is an IPv4 address of one interface; ``unix-/run/x.sock``."""
    name = sock.getsockname()
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"port-{port}" if ":" in host or host == "0.0.0.0" else f"{host}-port-{port}"
    path = f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else name
    text = f"unix-{path}".replace(":", "-")
    return text if len(text) <= 255 and text.isascii() and text.isprintable() else "unknown"


def _become(job: _Job, sockets: list[socket.socket]) -> NoReturn:
    """Write the pid file, put the sockets into place, and exec; raises when that cannot be done."""
    pid = os.getpid()
    if job.pid_file is not None:
        _write_pid_file(job.pid_file, pid)
    try:
        _place(sockets)
        environ = dict(os.environ)
        environ["LISTEN_FDS"] = str(len(sockets))
        environ["LISTEN_PID"] = str(pid)
        environ["LISTEN_FDNAMES"] = _names(sockets)
        # CPython ignores these two for itself; an ignored signal would stay ignored in the command.
        for name in ("SIGPIPE", "SIGXFSZ"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_DFL)
        if sys.stdout is not None:
            sys.stdout.flush()
        _exec(job.command, environ)
    except BaseException:
        if job.pid_file is not None:
            os.unlink(job.pid_file)
        raise


def _exec(command: list[str], environ: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, environ)
    except (FileNotFoundError, NotADirectoryError) as exc:
        where = "the interpreter in its first line may be missing" if os.path.exists(command[0]) else "check the name"
        where = where if "/" in command[0] else "it is in no directory of PATH"
        raise _ExecError(f"the command {command[0]!r} was not found; {where}", 127) from exc
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise _ExecError(f"the command {command[0]!r} cannot be executed: {reason}", 126) from exc


def _place(sockets: list[socket.socket]) -> None:
    """Copy the sockets to 3, 4, ...; the originals close themselves on exec."""
    import fcntl

    # First out of the way: a socket may sit on a number that another one is about to get.
    above = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST + len(sockets)) for sock in sockets]
    for number, fd in enumerate(above, _FIRST):
        os.dup2(fd, number, inheritable=True)


def _write_pid_file(path: str, pid: int) -> None:
    """Replace the file in one step, so that a reader never finds half a number."""
    temporary = f"{path}.{pid}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        try:
            with open(fd, "w", encoding="ascii") as file:
                file.write(f"{pid}\n")
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as exc:
        raise StartupError(f"cannot write the pid file {path!r}: {exc.strerror}; choose another one with -p") from exc


def _start_daemon(job: _Job, sockets: list[socket.socket]) -> None:
    """Return once the command runs in the background; raise what kept it from running."""
    report, tell = os.pipe()
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        child = os.fork()
    except OSError as exc:
        os.close(report)
        os.close(tell)
        raise StartupError(f"cannot start a background process: {exc.strerror}") from exc
    if child == 0:
        _run_daemon(job, sockets, tell)
    os.close(tell)
    os.waitpid(child, 0)
    with open(report, "rb") as pipe:
        # Ends when the exec closes the other side, or with the reason why there was none.
        code, _, reason = pipe.read().partition(b" ")
    if code:
        raise _ExecError(reason.decode(errors="replace"), int(code))


def _run_daemon(job: _Job, sockets: list[socket.socket], tell: int) -> NoReturn:
    """Run in the child: leave the session, fork again so that no terminal can come back, and become the command."""
    code, reason = 1, "the background process failed"
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        # A reader that went away must not kill the daemon; the pipe must not sit where a socket belongs.
        import fcntl

        tell = fcntl.fcntl(tell, fcntl.F_DUPFD_CLOEXEC, _FIRST + len(sockets))
        _become(job, sockets)
    except ReserveError as exc:
        code, reason = exc.exit_code, str(exc)
    except BaseException as exc:
        reason = f"the background process failed: {exc!r}"
    finally:
        try:
            os.write(tell, f"{code} {reason}".encode(errors="replace"))
        finally:
            os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
