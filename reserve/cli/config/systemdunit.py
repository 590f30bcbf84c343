"""``reserve systemd-unit``: the units of systemd for one command line, with as few rights as it can do with.

Runs on the main thread. It reads the options as a start does, opens no socket and imports no application. What a unit
can do better than an option becomes a directive (``--user`` is ``User=``); all other options stay on the command line.
Sources: systemd.service(5), systemd.socket(5), systemd.exec(5).
"""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from reserve.apps._accesslog.destinations import STDOUT, path_of
from reserve.cli.parser import CommandLine, app_arguments
from reserve.cli.process import open_files_for
from reserve.errors import UsageError
from reserve.options.sources import Values
from reserve.options.table import ENVIRONMENT, FLAGS, OPTIONS, USUAL_ADDRESS
from reserve.paramtypes import Flag
from reserve.sockets.addresses import FDAddress, TCPAddress, UNIXAddress, parse_address

__all__ = ["UnitRequest", "parse_unit_request", "units"]

_AFTER_DEADLINE = 15
"""Seconds that a process may need to end after its deadline, before systemd kills it."""
_WATCHDOG = 30
_DIRECTIVES = {"user", "group", "umask", "daemon", "pid-file"}
"""Options that a directive replaces; systemd knows the process without a file."""
_OF_SOCKETS = {"bind", "plain-bind", "redirect-http", "backlog", "unix-mode", "unix-owner"}
"""Options that the directives of the .socket replace."""
_SECRETS = ("tls-cert", "tls-key", "tls-password-file")
_FILES = ("tls-client-ca", "tls-crl", "config")
_LOGS = "/var/log"
_PRIVILEGED = 1024
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]{0,99}")
_OWN_VARIABLES = ("PORT", "WEB_CONCURRENCY")


@dataclass(frozen=True, slots=True)
class UnitRequest:
    """What the command line asks for."""

    command: CommandLine
    """Without the words of this command."""
    name: str
    """Of the units."""
    socket: bool
    """With ``.socket`` units."""
    directory: str
    """Where the units are written; empty: to standard output."""


def parse_unit_request(command: CommandLine) -> UnitRequest:
    """Take ``--name``, ``--socket`` and ``--into`` out of the command line.

    :raises UsageError: one of them lacks its value, or no application is named.
    """
    words = list(command.arguments[1:])
    start = words.index("app") if "app" in words else len(words)
    own, rest = words[:start], words[start:]
    values = {"--name": "", "--into": ""}
    has_socket = False
    while own:
        flag, equals, value = own[0].partition("=")
        if own[0] == "--socket":
            has_socket = True
        elif flag in values:
            if not equals:
                if len(own) < 2:
                    raise UsageError(f"{flag} needs a value")
                value = own.pop(1)
            values[flag] = value
        else:
            break
        del own[0]
    positions = command.positions[len(command.positions) - len(own) - len(rest) :]
    application = CommandLine(
        argv=command.argv,
        given=command.given,
        arguments=(*own, *rest),
        after=command.after,
        positions=positions,
    )
    _, arguments = app_arguments(application)
    name = values["--name"] or _name_of(arguments[-1] if arguments and not arguments[-1].startswith("-") else rest[1])
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name is {name!r:.80}; allowed are letters, digits, _, - and . (not - first), as in mysite")
    return UnitRequest(application, name.removesuffix(".service"), has_socket, values["--into"])


def _name_of(application: str) -> str:
    """The name of the units for an application: ``mysite`` for ``mysite.wsgi:application``."""
    name = re.split(r"[.:(]", application.rpartition("/")[2])[0]
    return name if _NAME.fullmatch(name) else "reserve"


def units(
    request: UnitRequest, values: Values, directory: str, environ: Mapping[str, str], program: Sequence[str]
) -> dict[str, str]:
    """The names of the units, and their texts.

    :param directory: the working directory of the server.
    :param environ: options in it, and ``PORT``, become ``Environment=``.
    :param program: the words that run the program.
    :raises UsageError: an option that has no meaning under systemd.
    """
    return _Units(request, values, directory, environ, program).texts()


class _Units:
    """The units of one command line."""

    def __init__(
        self, request: UnitRequest, values: Values, directory: str, environ: Mapping[str, str], program: Sequence[str]
    ) -> None:
        self._request, self._values = request, values
        self._directory, self._environ, self._program = directory, environ, program
        self._base = os.path.join(directory, str(values["chdir"] or ""))
        self._version = _systemd_version()
        self._remarks: list[str] = []
        self._credentials: dict[str, str] = {}
        self._addresses = {purpose: self._parsed(purpose) for purpose in ("bind", "plain-bind", "redirect-http")}
        if not self._addresses["bind"]:
            self._addresses["bind"] = [cast("TCPAddress", parse_address(values.port_address() or USUAL_ADDRESS))]

    def texts(self) -> dict[str, str]:
        if self._values["exit_idle"] and not self._request.socket:
            raise UsageError(
                f"{self._values.given['exit_idle'].source} is for sockets that systemd has opened (--socket): nothing "
                "starts the server again for an address of its own"
            )
        sockets = dict(self._sockets()) if self._request.socket else {}
        return {f"{self._request.name}.service": self._service(tuple(sockets)), **sockets}

    def _parsed(self, option: str) -> list[TCPAddress | UNIXAddress]:
        result: list[TCPAddress | UNIXAddress] = []
        for text in cast("tuple[str, ...]", self._values[FLAGS[f"--{option}"].field]):
            address = parse_address(text)
            if isinstance(address, FDAddress):
                raise UsageError(f"--{option} {text} is a descriptor of one process; systemd passes sockets (--socket)")
            result.append(address)
        return result

    # ---- the .socket ----

    def _sockets(self) -> Iterator[tuple[str, str]]:
        name = self._request.name
        for option, suffix in (("bind", ""), ("plain-bind", "plain"), ("redirect-http", "redirect")):
            addresses = self._addresses[option]
            if not addresses:
                continue
            lines = ["[Unit]", f"Description=Sockets of {name}{f' ({suffix})' if suffix else ''}", "", "[Socket]"]
            for address in addresses:
                lines += [f"ListenStream={_escaped(text)}" for text in self._listen_stream(address)]
            lines.append(f"Backlog={self._values['backlog']}")
            if suffix:
                lines += [f"FileDescriptorName={suffix}", f"Service={name}.service"]
            mode, owner = self._values["unix_mode"], cast("str | None", self._values["unix_owner"])
            if any(isinstance(address, UNIXAddress) and not address.abstract for address in addresses):
                lines += [f"SocketMode={mode:04o}"] if mode is not None else []
                user, _, group = (owner or "").partition(":")
                lines += [f"SocketUser={user}"] if user else []
                lines += [f"SocketGroup={group}"] if group else []
                lines.append("RemoveOnStop=yes")
            lines += ["", "[Install]", "WantedBy=sockets.target"]
            yield f"{name}{f'-{suffix}' if suffix else ''}.socket", "".join(f"{line}\n" for line in lines)

    def _listen_stream(self, address: TCPAddress | UNIXAddress) -> list[str]:
        if isinstance(address, UNIXAddress):
            return [f"@{address.name}" if address.abstract else os.path.join(self._base, address.name)]
        if not address.host:
            return [str(address.port)]
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UsageError(f"{address.host} has no address here: {error.strerror or error}") from None
        numbers = dict.fromkeys(str(item[4][0]) for item in found)
        return [str(TCPAddress(number, address.port)) for number in numbers]

    # ---- the .service ----

    def _service(self, sockets: tuple[str, ...]) -> str:
        values = self._values
        command = self._exec_start()
        lines = ["[Unit]", f"Description={_escaped(' '.join(self._request.command.arguments))}"]
        lines += ["Wants=network-online.target", f"After={' '.join(('network-online.target', *sockets))}"]
        lines += [f"Requires={' '.join(sockets)}"] if sockets else []
        lines += ["", "[Service]"]
        if self._version >= 253:
            lines.append("Type=notify-reload")
        else:
            lines += ["Type=notify", f"ExecReload={shutil.which('kill') or '/bin/kill'} -HUP $MAINPID"]
        lines += ["NotifyAccess=main", f"ExecStart={command}"]
        lines += [f"WorkingDirectory={_escaped(self._directory)}"]
        lines += [f"Environment={_quoted(f'{key}={value}')}" for key, value in self._variables()]
        lines += [f"LoadCredential={key}:{_escaped(path)}" for key, path in self._credentials.items()]
        lines += [f"Sockets={' '.join(sockets)}"] if sockets else []
        stop = cast("float", values["stop_timeout"]) + cast("float", values["drain_delay"])
        lines += [
            "KillMode=mixed",
            f"TimeoutStopSec={math.ceil(stop) + _AFTER_DEADLINE}",
            f"WatchdogSec={_WATCHDOG}",
            "Restart=on-failure",
            "RestartPreventExitStatus=2",
        ]
        wanted = values["open_files"]
        if wanted != "keep":
            limit = wanted if isinstance(wanted, int) else open_files_for(values.engine().max_connections)
            lines.append(f"LimitNOFILE={limit}")
        lines += [*self._user(), *self._directories(), *self._rights(bool(sockets))]
        lines += ["", "[Install]", "WantedBy=multi-user.target"]
        remarks = [f"# {remark}" for remark in self._remarks]
        return "".join(f"{line}\n" for line in [*remarks, *lines])

    def _exec_start(self) -> str:
        """The command line, without the options that directives replace."""
        words: list[str] = []
        dropped = _DIRECTIVES | (_OF_SOCKETS if self._request.socket else set())
        number = 0
        for option, value in self._request.command.given:
            if option.name in dropped:
                continue
            if isinstance(option.kind, Flag):
                words.append(option.flag if value == "true" else option.flags[1])
                continue
            text = _quoted(value, in_command=True)
            if option.name in _SECRETS and self._is_private(os.path.join(self._base, value)):
                number += 1
                key = f"{option.name}-{number}"
                self._credentials[key] = os.path.join(self._base, value)
                text = f"%d/{key}"
            words += [option.flag, text]
        for option in OPTIONS:
            given = self._values.given.get(option.field)
            if given is None or given.source.startswith("--") or option.name not in dropped:
                continue
            if option.name == "daemon" and given.value:
                words.append("--no-daemon")
            elif option.name in _OF_SOCKETS and option.name.endswith(("bind", "http")):
                raise UsageError(f"{given.source} says where to listen; with --socket, systemd does: leave it out")
        if self._credentials:
            self._remarks.append(
                "The service gets copies of files that only their owner may read; after a change: systemctl restart"
            )
        command = self._request.command
        after = ["--", *command.after] if command.after else []
        rest = [_quoted(word, in_command=True) for word in (*command.arguments, *after)]
        return " ".join([*(_quoted(word, in_command=True) for word in self._program), *words, *rest])

    def _is_private(self, path: str) -> bool:
        """Whether the user of the service may not read a file of root."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        user = cast("str | None", self._values["user"])
        if user is not None:
            import pwd

            with suppress(KeyError):
                if pwd.getpwnam(user.partition(":")[0]).pw_uid == status.st_uid:
                    return False
        return not status.st_mode & 0o004

    def _variables(self) -> Iterator[tuple[str, str]]:
        """The options of the environment, which the service would not have."""
        dropped = _DIRECTIVES | (_OF_SOCKETS if self._request.socket else set())
        for option in OPTIONS:
            if ENVIRONMENT in option.sources and option.variable in self._environ and option.name not in dropped:
                yield option.variable, self._environ[option.variable]
        for name in _OWN_VARIABLES:
            if name in self._environ and not (name == "PORT" and self._request.socket):
                yield name, self._environ[name]

    def _user(self) -> Iterator[str]:
        user = cast("str | None", self._values["user"])
        group = cast("str | None", self._values["group"])
        umask = cast("int | None", self._values["umask"])
        if user is None:
            yield "DynamicUser=yes"
            if group is not None:
                yield f"Group={group}"
        else:
            name, _, own_group = user.partition(":")
            yield f"User={name}"
            if group or own_group:
                yield f"Group={group or own_group}"
        has_files = not self._request.socket and any(self._unix_directories())
        default = 0o022 if has_files and self._values["unix_mode"] is None else 0o077
        yield f"UMask={default if umask is None else umask:04o}"

    def _unix_directories(self) -> list[str]:
        """The directories in which the server itself creates the files of sockets."""
        found = [
            os.path.dirname(os.path.join(self._base, address.name))
            for addresses in self._addresses.values()
            for address in addresses
            if isinstance(address, UNIXAddress) and not address.abstract
        ]
        return list(dict.fromkeys(found))

    def _control_directories(self) -> list[str]:
        """The directories of the control sockets."""
        paths = [self._values[field] for field in ("control", "control_readonly") if self._values[field] is not None]
        found = [os.path.dirname(os.path.join(self._base, str(path))) for path in paths]
        if any(f"{path}/".startswith(("/tmp/", "/var/tmp/")) for path in found):
            self._remarks.append(
                f"The service has a /tmp of its own, where no other process finds its control socket; write: "
                f"--control /run/{self._request.name}/control"
            )
        return list(dict.fromkeys(found))

    def _log_directories(self) -> list[str]:
        """The directories of the files of logs, which the service creates, and opens again after SIGUSR1."""
        named = [path_of(str(self._values["access_log_file"]))] if self._values["access_log"] else []
        error_log = str(self._values["error_log_file"] or "")
        named += [error_log] if error_log != STDOUT else []
        found = [os.path.dirname(os.path.join(self._base, path)) for path in named if path]
        if _LOGS in found:
            right = f"--error-log-file {_LOGS}/{self._request.name}/error.log"
            self._remarks.append(f"The user of the service may not create files in {_LOGS}; write: {right}")
        return list(dict.fromkeys(found))

    def _directories(self) -> Iterator[str]:
        """Where the service may write: nowhere else."""
        yield f"StateDirectory={self._request.name}"
        writable = [] if self._request.socket else self._unix_directories()
        writable += [path for path in self._control_directories() if path not in writable]
        runtime = [path for path in writable if re.fullmatch(r"/(?:var/)?run/[^/]+", path)]
        if runtime:
            yield f"RuntimeDirectory={' '.join(_escaped(os.path.basename(path)) for path in runtime)}"
        paths = [path for path in writable if path not in runtime]
        logs = self._log_directories()
        made = [path for path in logs if path.startswith(f"{_LOGS}/")]
        if made:
            yield f"LogsDirectory={' '.join(_escaped(os.path.relpath(path, _LOGS)) for path in made)}"
        state = f"/var/lib/{self._request.name}"
        paths += [path for path in logs if path not in made and path != state]
        spool_dir = self._values["spool_dir"]
        if spool_dir is not None:
            paths.append(os.path.join(self._base, str(spool_dir)))
        given = self._values.given.get("pid_file")
        if given is not None and not given.source.startswith("--"):
            paths.append(os.path.dirname(os.path.join(self._base, str(given.value))))
        if paths:
            yield f"ReadWritePaths={' '.join(map(_quoted, dict.fromkeys(paths)))}"
        hidden = [os.path.normpath(path) for path in self._read() if path.startswith(("/tmp/", "/var/tmp/"))]
        if hidden:
            yield f"BindReadOnlyPaths={' '.join(map(_quoted, dict.fromkeys(hidden)))}"

    def _read(self) -> Iterator[str]:
        """What the service has to read."""
        yield from (self._directory, self._base, sys.prefix, sys.base_prefix)
        yield from (word for word in self._program if os.path.isabs(word))
        for name in (*_SECRETS, *_FILES):
            option = FLAGS[f"--{name}"]
            value = self._values[option.field]
            for text in value if isinstance(value, tuple) else (value,):
                path = os.path.join(self._base, str(text or ""))
                if text and path not in self._credentials.values():
                    yield path
        for text in cast("tuple[str, ...]", self._values["static"]):  # PREFIX=DIR
            yield os.path.join(self._base, text.partition("=")[2])

    def _rights(self, has_sockets: bool) -> Iterator[str]:
        """What the service may not do."""
        ports = [
            address.port
            for addresses in self._addresses.values()
            for address in addresses
            if isinstance(address, TCPAddress)
        ]
        is_privileged = not has_sockets and any(0 < port < _PRIVILEGED for port in ports)
        if is_privileged:
            yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"
        yield f"CapabilityBoundingSet={'CAP_NET_BIND_SERVICE' if is_privileged else ''}"
        home = any(re.match(r"/(home|root|run/user)/", f"{path}/") for path in self._read())
        if home:
            self._remarks.append(
                "The service reads files below /home or /root, which its user has to be allowed (namei -l PATH)"
            )
        yield "NoNewPrivileges=yes"
        yield "ProtectSystem=strict"
        yield f"ProtectHome={'read-only' if home else 'yes'}"
        for name in (
            "PrivateTmp", "PrivateDevices", "ProtectClock", "ProtectControlGroups", "ProtectHostname",
            "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictNamespaces",
            "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "RemoveIPC",
        ):  # fmt: skip
            yield f"{name}=yes"
        if not is_privileged:  # the capability would be one of the namespace of users only
            yield "PrivateUsers=yes"
        yield "ProtectProc=invisible"
        yield "DevicePolicy=closed"
        yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
        yield "SystemCallArchitectures=native"
        yield "SystemCallFilter=@system-service"
        # @resources has setrlimit, which the server does without; EPERM, so that a library that tries goes on.
        yield "SystemCallFilter=~@privileged @resources"
        if self._values["unix_owner"] is not None and not has_sockets:
            yield "SystemCallFilter=@chown"
        yield "SystemCallErrorNumber=EPERM"


def _systemd_version() -> int:
    """The version of systemd on this machine; 0: there is none."""
    program = shutil.which("systemctl")
    if program is None:
        return 0
    try:
        text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.match(r"systemd ([0-9]+)", text)
    return int(match[1]) if match else 0


def _escaped(text: str) -> str:
    """A text in which systemd replaces nothing."""
    return text.replace("%", "%%").replace("\n", " ")


def _quoted(text: str, *, in_command: bool = False) -> str:
    """One word of a directive that takes several.

    :param in_command: ``$`` begins a variable there.
    """
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    if in_command:
        text = text.replace("$", "$$")
    return text if re.fullmatch(r"[^\s\"'\\;]+", text) else f'"{text}"'
