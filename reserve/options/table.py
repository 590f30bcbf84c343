"""The one table of the server's options.

Everything that a person can set is one row here, and everything that reads or explains options is made from the rows:
the command line (``commandline.py``), the environment and the file (``optionsources.py``), ``-h`` and the reference
page (``optionhelp.py``; ``python -m reserve.options`` prints it). A row either names a field of a settings class, whose
default and bounds it takes, or belongs to the command itself. Constant after import; read by any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace

from reserve.apps.http.settings import HTTP_KINDS, HTTPSettings
from reserve.engine.settings import ENGINE_KINDS, EngineSettings
from reserve.paramtypes import Choice, Count, Flag, Kind, Octal, Pair, Text
from reserve.protocol.http1.limits import LIMIT_KINDS, Limits
from reserve.ssl.settings import TLS_KINDS, TLSSettings

__all__ = ["ADDRESSES", "FLAGS", "NEED_TLS", "OPTIONS", "Option"]

COMMAND = "command"
ENVIRONMENT = "environment"
FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row: ``head-timeout`` is ``--head-timeout``, ``RESERVE_HEAD_TIMEOUT``, and the field ``head_timeout``."""

    name: str
    kind: Kind
    help: str
    group: str
    home: type | None = None
    """The settings class that the field belongs to; None: the command itself uses the value."""
    default: object = None
    short: str = ""
    repeat: bool = False
    sources: tuple[str, ...] = (COMMAND, ENVIRONMENT, FILE)

    @property
    def field(self) -> str:
        """The name in the settings class and (one of two spellings) in a file."""
        return self.name.replace("-", "_")

    @property
    def setting(self) -> str:
        """The name of the field that ``home`` has for it."""
        return self.field.removeprefix("tls_") if self.home is TLSSettings else self.field

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return f"RESERVE_{self.field.upper()}"

    @property
    def flags(self) -> tuple[str, ...]:
        """Every spelling on the command line."""
        spelled = [self.flag]
        if isinstance(self.kind, Flag) and self.sources != (COMMAND,):
            spelled.append(f"--no-{self.name}")
        if self.short:
            spelled.append(self.short)
        return tuple(spelled)


_KINDS: dict[type, Mapping[str, Kind]] = {
    EngineSettings: ENGINE_KINDS,
    HTTPSettings: HTTP_KINDS,
    Limits: LIMIT_KINDS,
    TLSSettings: TLS_KINDS,
}


def _row(home: type, group: str, name: str, text: str) -> Option:
    row = Option(name=name, kind=Kind(), help=text, group=group, home=home)
    (match,) = [field for field in fields(home) if field.name == row.setting]
    assert match.default is not MISSING, f"{home.__name__}.{match.name} has no plain default"
    return replace(row, default=match.default, kind=_KINDS[home][match.name])


def _engine(name: str, text: str) -> Option:
    return _row(EngineSettings, "Threads and connections", name, text)


def _http(name: str, text: str) -> Option:
    return _row(HTTPSettings, "HTTP", name, text)


def _tls(name: str, text: str, home: type = TLSSettings) -> Option:
    return _row(home, _TLS, name, text)


def _limit(name: str, text: str) -> Option:
    return _row(Limits, "HTTP limits", name, text)


_LISTEN = "Where it listens"
_TLS = "TLS"
_COMMAND = "The command"
_ADDRESS = Text("HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N", bool, "ADDR", "an address")
_DIRECTORY = Text("a directory", bool, "DIR", "a path")
_FILE = Text("a file", bool, "FILE", "a path")
_OWNER = Text("USER, USER:GROUP or :GROUP", lambda text: text.strip(":") != "", "OWNER", "a user and a group")
_UNIX_MODE = (
    "Permissions of the socket files of unix:PATH binds. Default: 777 less the umask; with the usual umask of 022 "
    "(755), a frontend that runs as another user gets permission denied."
)
_LEVELS = ("debug", "info", "warning", "error", "critical")

OPTIONS: tuple[Option, ...] = (
    Option(
        name="bind",
        short="-b",
        kind=_ADDRESS,
        group=_LISTEN,
        repeat=True,
        default=(),
        help="Listen here (repeatable). Without it: every socket that systemd or sdlaunch passed, or 127.0.0.1:8080.",
    ),
    Option(name="unix-mode", kind=Octal(), group=_LISTEN, help=_UNIX_MODE),
    Option(name="unix-owner", kind=_OWNER, group=_LISTEN, help="Owner of the socket files of unix:PATH binds."),
    Option(
        name="tls-cert",
        kind=_FILE,
        group=_TLS,
        repeat=True,
        default=(),
        help="The certificate (PEM), and behind it those that lead to its authority; every bind speaks TLS then. "
        "Repeatable: a client gets the one for the name that it asks for, otherwise the first.",
    ),
    Option(
        name="tls-key",
        kind=_FILE,
        group=_TLS,
        repeat=True,
        default=(),
        help="Its private key (PEM): one for each --tls-cert, in the same order. Without any: they are in those files.",
    ),
    Option(
        name="tls-password-file",
        kind=_FILE,
        group=_TLS,
        help="A file whose first line opens encrypted keys; it is read again when the certificates are.",
    ),
    Option(
        name="plain-bind",
        kind=_ADDRESS,
        group=_TLS,
        repeat=True,
        default=(),
        help="Listen here, too, without TLS (repeatable); the same as an inherited socket that is named plain.",
    ),
    Option(
        name="redirect-http",
        kind=_ADDRESS,
        group=_TLS,
        repeat=True,
        default=(),
        help="Listen here for plain HTTP, and send every client to https (repeatable); the same as an inherited socket "
        "that is named redirect.",
    ),
    Option(
        name="redirect-port",
        kind=Count(1, 65535, "PORT"),
        group=_TLS,
        help="The port to which --redirect-http sends clients, where it is not that of the first TLS bind: behind a "
        "port mapping, or a balancer.",
    ),
    _tls("tls-min-version", "The oldest version of TLS that is spoken."),
    _tls(
        "tls-ciphers",
        "What TLS 1.2 may use; those of 1.3 are all good.",
    ),
    _tls(
        "tls-client-cert",
        "Whether clients are asked for a certificate, and may go on without; a wrong one ends the handshake.",
    ),
    _tls("tls-client-ca", "The authorities (PEM) that clients' certificates must come from."),
    _tls("tls-crl", "The clients' certificates that their authority has revoked (PEM)."),
    Option(
        name="tls-adapter",
        kind=Choice(("builtin", "pyopenssl")),
        group=_TLS,
        default="builtin",
        help="What speaks TLS: the standard library, or pyOpenSSL (pip install 'reserve[pyopenssl]').",
    ),
    _tls(
        "tls-check",
        "How often, while clients come, the files are looked at, and loaded again when they are new; 0: never.",
        EngineSettings,
    ),
    _tls(
        "handshake-timeout",
        "How long a TLS handshake may take, from the connection's start.",
        EngineSettings,
    ),
    _engine(
        "threads",
        "Worker threads: how many handlers run at the same time. MIN:MAX: more while requests wait, fewer when idle.",
    ),
    _engine(
        "request-timeout",
        "How long a request may run before its answer begins; then its client gets a 503 and it is interrupted, and "
        "given up a second later. With --stream-bodies the 503 comes when it has ended or is given up. 0: for ever.",
    ),
    _engine(
        "max-stuck",
        "How many interrupted threads that do not come back are replaced; one more and the server is unhealthy.",
    ),
    _engine("backlog", "Connections that the kernel holds until they are accepted."),
    _engine("handler-timeout", "The socket timeout that a generic handler starts with."),
    _engine("write-timeout", "How long a peer may take nothing of an answer before it is cut off."),
    _engine(
        "write-rate",
        "What a peer must take on the average after write-timeout; 0: no such rule.",
    ),
    _engine(
        "buffer-memory",
        "What all bodies, answers and heads on their way may hold in memory; then files, then refusals (503, 507).",
    ),
    _engine("spool-disk", "What all bodies and answers together may hold in files."),
    _engine("linger-timeout", "How long a connection that closes waits for its client to read the last words."),
    _engine(
        "linger-bytes",
        "How much a closing connection still reads; what comes beyond is not read, nor reset before the time is over.",
    ),
    _engine("max-lingering", "How many connections may linger at once; the oldest are cut."),
    _engine("max-output", "What server.send may leave waiting on one parked connection."),
    _engine("max-connections", "Connections open at once; then idle ones close and new ones wait."),
    _engine("max-queued", "Complete requests that may wait for a worker; one more is refused (503)."),
    _engine("queue-timeout", "How long a complete request may wait for a worker before it is refused."),
    _engine("stop-timeout", "How long a stop waits for requests in flight, and for threads."),
    _http("head-timeout", "From the first octet of a head to its last."),
    _http("body-timeout", "How long a body may take at any rate; then it must keep up body-rate."),
    _http(
        "body-rate",
        "What a body must keep up after body-timeout; 0: no such rule, body-timeout is for the whole body.",
    ),
    _http("keep-alive", "How long an idle connection waits for a request; 0: close after each answer."),
    _http("body-memory", "How much of a request body stays in memory before it goes to a file."),
    _http(
        "response-memory",
        "How far an answer may be ahead of its client in memory before more of it goes to a file.",
    ),
    _http(
        "max-response-spool",
        "How much of an answer such a file may hold before the application has to wait for its client.",
    ),
    _http("spool-dir", "Where these files are made; by default the directory for temporary files."),
    _http("stream-bodies", "Run the application at the end of the head; it reads the body as it comes."),
    _http(
        "expect",
        "Who answers 'Expect: 100-continue': the server before the application runs, or app on its first read.",
    ),
    _http(
        "underscores",
        "What becomes of a header field with an underscore in its name: drop the field, or refuse the request (400).",
    ),
    _http(
        "health-path",
        "A path that the server answers itself, also while every worker is busy: 200, or 503 when it is not fit.",
    ),
    _http("access-log", "Write one line for each request to standard output (combined format)."),
    _http("server-header", "The Server field of every answer; empty: none."),
    _http("root-path", "The SCRIPT_NAME that everything is mounted under."),
    _limit("max-request-line", "The request line with its CRLF; more is a 414."),
    _limit("max-field", "One header field line with its CRLF; more is a 431."),
    _limit("max-head", "The whole head, line ends included; more is a 431."),
    _limit("max-fields", "Field lines in one head; more is a 431."),
    _limit("max-chunk-line", "One chunk-size line with its extensions and CRLF; more is a 400."),
    _limit("max-chunk-extensions", "All chunk extensions of one body together; more is a 400."),
    _limit("max-trailer", "The whole trailer section, line ends included; more is a 431."),
    _limit("max-trailer-fields", "Trailer field lines; more is a 431."),
    _limit("max-body", "The content of one request, whatever its framing; more is a 413."),
    Option(name="chdir", kind=_DIRECTORY, group=_COMMAND, help="Change to this directory before anything is opened."),
    Option(
        name="env",
        kind=Pair(),
        group=_COMMAND,
        repeat=True,
        default=(),
        sources=(COMMAND, FILE),
        help="Set an environment variable before the application is imported; may be repeated.",
    ),
    Option(
        name="log-level",
        kind=Choice(_LEVELS),
        group=_COMMAND,
        default="info",
        help="The least serious messages that the error log, on standard error, shows.",
    ),
    Option(
        name="config",
        kind=_FILE,
        group=_COMMAND,
        sources=(COMMAND, ENVIRONMENT),
        help="Read this file; by default reserve.toml, else pyproject.toml, of the working directory.",
    ),
    Option(name="version", kind=Flag(), group=_COMMAND, sources=(COMMAND,), help="Print the version and exit."),
    Option(name="help", short="-h", kind=Flag(), group=_COMMAND, sources=(COMMAND,), help="Print this and exit."),
)

ADDRESSES = tuple(option.name for option in OPTIONS if option.kind is _ADDRESS)
"""The options that say where to listen."""

NEED_TLS = tuple(option.name for option in OPTIONS if option.group == _TLS and option.name != "tls-cert")
"""What does nothing without a certificate."""

FLAGS: dict[str, Option] = {spelled: option for option in OPTIONS for spelled in option.flags}
"""Every spelling on the command line, and what it means."""
