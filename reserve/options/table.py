"""The table of the server's options.

Each option is one row. The command line (``reserve.cli.parser``), the environment and the file
(``reserve.options.sources``), ``-h`` and the reference page (``reserve.options.help``) are all made from the rows. A
row either names a field of a settings class, and has its default and its type, or belongs to the command itself. The
table does not change after the import; any thread may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace

from reserve.apps.http.settings import HTTP_KINDS, HTTPSettings
from reserve.control.metrics.target import is_statsd_target
from reserve.engine.settings import ENGINE_KINDS, EngineSettings
from reserve.paramtypes import Choice, Count, CountOr, Flag, Kind, Need, Octal, Pair, Seconds, Size, Text
from reserve.protocol.http1.limits import LIMIT_KINDS, Limits
from reserve.ssl.settings import TLS_KINDS, TLSSettings

__all__ = [
    "ADDRESSES",
    "COMMAND_NEEDS",
    "FLAGS",
    "HOOKS",
    "NEED_TLS",
    "OPTIONS",
    "USUAL_ADDRESS",
    "Option",
    "usual_value",
]

COMMAND = "command"
ENVIRONMENT = "environment"
FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table.

    The option ``head-timeout`` is ``--head-timeout`` on the command line, ``RESERVE_HEAD_TIMEOUT`` in the environment,
    and the field ``head_timeout`` of its settings class.
    """

    name: str
    kind: Kind
    help: str
    group: str
    home: type | None = None
    """The settings class with this field; None: the command itself uses the value."""
    default: object = None
    short: str = ""
    repeat: bool = False
    sources: tuple[str, ...] = (COMMAND, ENVIRONMENT, FILE)

    @property
    def field(self) -> str:
        """The name with underscores, which a file may use too."""
        return self.name.replace("-", "_")

    @property
    def setting(self) -> str:
        """The name of the field in ``home``."""
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
        """Every name on the command line: ``--name``, ``--no-name``, ``-n``."""
        names = [self.flag]
        if isinstance(self.kind, Flag) and self.sources != (COMMAND,):
            names.append(f"--no-{self.name}")
        if self.short:
            names.append(self.short)
        return tuple(names)


_KINDS: dict[type, Mapping[str, Kind]] = {
    EngineSettings: ENGINE_KINDS,
    HTTPSettings: HTTP_KINDS,
    Limits: LIMIT_KINDS,
    TLSSettings: TLS_KINDS,
}


def _row(home: type, group: str, name: str, text: str) -> Option:
    """A row with the default and the type of a field of a settings class."""
    row = Option(name=name, kind=Kind(), help=text, group=group, home=home)
    (field,) = [field for field in fields(home) if field.name == row.setting]
    assert field.default is not MISSING, f"{home.__name__}.{field.name} has no plain default"
    repeat = isinstance(field.default, tuple)
    return replace(row, default=field.default, kind=_KINDS[home][field.name], repeat=repeat)


def _engine(name: str, text: str) -> Option:
    return _row(EngineSettings, "Threads and connections", name, text)


def _http(name: str, text: str) -> Option:
    return _row(HTTPSettings, "HTTP", name, text)


def _static(name: str, text: str) -> Option:
    return _row(HTTPSettings, "Static files", name, text)


def _development(name: str, text: str, home: type = HTTPSettings) -> Option:
    return _row(home, _DEVELOPMENT, name, text)


def _tls(name: str, text: str, home: type = TLSSettings) -> Option:
    return _row(home, _TLS, name, text)


def _monitoring(name: str, text: str, home: type = HTTPSettings) -> Option:
    return _row(home, _MONITORING, name, text)


def _limit(name: str, text: str) -> Option:
    return _row(Limits, "HTTP limits", name, text)


def _hook(name: str, text: str) -> Option:
    return Option(name=name, kind=_FUNCTION, help=text, group="Hooks")


_LISTEN = "Addresses"
_TLS = "TLS"
_DEVELOPMENT = "Development"
_COMMAND = "The command"
_PROCESSES = "Processes"
_MONITORING = "Monitoring"
_ADDRESS = Text("HOST:PORT, [V6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N", bool, "ADDR", "an address")
_DIRECTORY = Text("a directory", bool, "DIR", "a path")
_FILE = Text("a file", bool, "FILE", "a path")
_FUNCTION = Text(
    "a function as module:function (shop.hooks:connect)",
    lambda text: "" not in (text.partition(":")[0], text.partition(":")[2]),
    "MODULE:FUNCTION",
    "a function",
)
_OWNER = Text("USER, USER:GROUP or :GROUP", lambda text: text.strip(":") != "", "OWNER", "a user and a group")


def _is_user(text: str) -> bool:
    user, colon, group = text.partition(":")
    return user.strip() != "" and (group.strip() != "" or not colon) and ":" not in group


_UNIX_MODE = (
    "Permissions of the socket files of unix:PATH binds. Default: 777 minus the umask; with the usual umask of 022 "
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
        help="Listen on this address (repeatable). Without it: on every socket that systemd or sdlaunch passed, "
        "otherwise on standard input if that is a listening socket, otherwise on 0.0.0.0:PORT if the environment "
        "variable PORT is set, as platforms do, otherwise on 127.0.0.1:8080.",
    ),
    Option(
        name="backlog",
        kind=Count(1, 65535),
        group=_LISTEN,
        default=1024,
        help="How many connections the kernel queues until the server accepts them.",
    ),
    Option(name="unix-mode", kind=Octal(), group=_LISTEN, help=_UNIX_MODE),
    Option(name="unix-owner", kind=_OWNER, group=_LISTEN, help="Owner of the socket files of unix:PATH binds."),
    Option(
        name="tls-cert",
        kind=_FILE,
        group=_TLS,
        repeat=True,
        default=(),
        help="The server's certificate, followed by its chain (PEM). With it every --bind uses TLS. Repeatable: a "
        "client gets the certificate for the host name that it asks for, otherwise the first one.",
    ),
    Option(
        name="tls-key",
        kind=_FILE,
        group=_TLS,
        repeat=True,
        default=(),
        help="The private key (PEM): one for each --tls-cert, in the same order. Without this option, each key is in "
        "the file of its certificate.",
    ),
    Option(
        name="tls-password-file",
        kind=_FILE,
        group=_TLS,
        help="A file whose first line is the password of encrypted keys. It is read again with the certificates.",
    ),
    Option(
        name="plain-bind",
        kind=_ADDRESS,
        group=_TLS,
        repeat=True,
        default=(),
        help="Listen on this address without TLS (repeatable). An inherited socket named plain is the same.",
    ),
    Option(
        name="redirect-http",
        kind=_ADDRESS,
        group=_TLS,
        repeat=True,
        default=(),
        help="Listen on this address for plain HTTP, and redirect every request to https (repeatable). An inherited "
        "socket named redirect is the same.",
    ),
    Option(
        name="redirect-port",
        kind=Count(1, 65535, "PORT"),
        group=_TLS,
        help="The port to which --redirect-http redirects. Default: the port of the first TLS bind. Behind a port "
        "mapping or a load balancer, clients need another one.",
    ),
    _tls("tls-min-version", "The oldest version of TLS that the server accepts."),
    _tls(
        "tls-ciphers",
        "The ciphers that TLS 1.2 may use. All ciphers of TLS 1.3 are allowed.",
    ),
    _tls(
        "tls-client-cert",
        "Whether the server asks clients for a certificate, and accepts clients without one. A certificate that cannot "
        "be verified ends the handshake.",
    ),
    _tls("tls-client-ca", "The authorities (PEM) that have to sign the certificates of clients."),
    _tls("tls-crl", "The list of the clients' certificates that their authority has revoked (PEM)."),
    Option(
        name="tls-adapter",
        kind=Choice(("builtin", "pyopenssl")),
        group=_TLS,
        default="builtin",
        help="The library for TLS: Python's ssl module, or pyOpenSSL (pip install 'reserve[pyopenssl]').",
    ),
    _tls(
        "tls-check",
        "While clients connect, the server checks the files of the certificates this often, and loads them again when "
        "they have changed; 0: never.",
        EngineSettings,
    ),
    _tls(
        "handshake-timeout",
        "How long a TLS handshake may take, from the start of the connection; with proxy-protocol also how long the "
        "header before it may take, with TLS or without.",
        EngineSettings,
    ),
    _engine(
        "threads",
        "Worker threads: how many handlers run at the same time. With MIN:MAX the pool grows while requests wait, and "
        "shrinks when workers are idle.",
    ),
    _engine(
        "request-timeout",
        "How long a request may run before its response begins. Then the client gets a 503, and the request is "
        "interrupted; a second later its thread is given up. With --stream-bodies the 503 is sent when the request has "
        "ended or its thread is given up. 0: no limit.",
    ),
    _engine(
        "max-stuck",
        "How many interrupted threads that do not return are replaced. With one more of them the server is unhealthy.",
    ),
    _engine(
        "max-upgraded",
        "How many threads may each serve one connection that its application has taken over, as for WebSocket, in "
        "addition to --threads. Beyond it such a request gets a 503. 0: no connection can be taken over.",
    ),
    _engine(
        "max-waiting",
        "How many requests that only wait, as event streams and long polls do, need not count as --threads, when they "
        "say so with reserve.waiting. Each has a thread of its own. 0: all count.",
    ),
    _engine(
        "file-threads",
        "How many threads may wait for disks, to send files that are not in the page cache. They start when they are "
        "needed.",
    ),
    _engine(
        "trusted-proxies",
        "Frontends whose word about their clients is believed: addresses, networks (192.0.2.0/24), and unix for every "
        "peer on a UNIX socket, with commas between them. See proxy-protocol and forwarded-fields.",
    ),
    _engine(
        "proxy-protocol",
        "Every connection begins with a header of the PROXY protocol, of this version, from one of trusted-proxies; "
        "others are closed. It names the client.",
    ),
    _engine("handler-timeout", "The timeout that the socket of a plain handler has at first."),
    _engine(
        "idle-timeout",
        "How long the connection of a plain handler may be parked without any traffic, if its Park has no timeout; "
        "then it is closed. 0: no limit.",
    ),
    _engine("write-timeout", "How long a peer may read nothing of a response before its connection is reset."),
    _engine(
        "write-rate",
        "The average rate at which a peer must read a response, after write-timeout, and as much again for each MiB "
        "that the response holds in a file; 0: no minimum.",
    ),
    _engine(
        "buffer-memory",
        "How much memory the bodies, responses and heads of all connections may use together. Beyond it, files are "
        "used; then requests are refused (503, 507).",
    ),
    _engine(
        "spool-disk",
        "How much disk space the bodies and responses of all connections may use together. A quarter of it belongs to "
        "the bodies alone, and a quarter to the responses; one response may use a quarter of what the others leave.",
    ),
    _engine("linger-timeout", "How long a closing connection waits until its client has read the last response."),
    _engine(
        "linger-bytes",
        "How many bytes a closing connection still reads. It leaves any more unread, and is not reset before "
        "linger-timeout is over.",
    ),
    _engine("max-lingering", "How many connections may linger at the same time; beyond it the oldest ones are closed."),
    _engine("max-output", "How many bytes server.send may queue on one parked connection."),
    _engine("max-connections", "How many connections may be open; at the limit idle ones are closed, new ones wait."),
    _engine(
        "max-connections-per-client",
        "How many connections one client address may have open (of IPv6: the first 64 bits); more are closed at once. "
        "trusted-proxies are not counted. 0: no limit.",
    ),
    _engine(
        "max-running-per-client",
        "How many requests of one client address may run or wait for a worker, behind trusted-proxies the address that "
        "they tell. As many more wait, at most for queue-timeout; the others are refused (429). 0: no limit.",
    ),
    _engine(
        "unlimited-clients",
        "Clients without the two limits before: addresses, networks (192.0.2.0/24), and unix for those without an "
        "address, with commas between them.",
    ),
    _engine("max-queued", "How many complete requests may wait for a worker; beyond it requests are refused (503)."),
    _engine("queue-timeout", "How long a complete request may wait for a worker before it is refused (503)."),
    _engine("stop-timeout", "How long a shutdown waits for requests in flight, and for threads."),
    _engine(
        "drain-delay",
        "How long a server that is asked to stop serves on as usual, while health-path gets a 503, so that load "
        "balancers send no more clients. A second signal skips it.",
    ),
    _engine(
        "exit-idle",
        "Stop when no connection has been open for this long; 0: never. Only with sockets that systemd has opened: it "
        "starts the service again for the next connection.",
    ),
    _http("head-timeout", "How long a request head may take from its first byte to its last."),
    _http(
        "body-timeout",
        "How long a request body may take, whatever its rate; after that it must arrive at body-rate.",
    ),
    _http(
        "body-rate",
        "The average rate at which a request body must arrive, after body-timeout; 0: no minimum, and body-timeout is "
        "the limit for the whole body.",
    ),
    _http("keep-alive", "How long an idle connection waits for a request; 0: it is closed after each response."),
    _http("body-memory", "How much of a request body is kept in memory; the rest goes to a file."),
    _http(
        "response-memory",
        "How much of a response may wait in memory for its client; the rest goes to a file.",
    ),
    _http(
        "max-response-spool",
        "How much of a response may wait in a file for its client; beyond it the application waits. See also "
        "spool-disk.",
    ),
    _http(
        "spool-dir",
        "The directory for files with bodies and responses. Default: the system's directory for temporary files.",
    ),
    _http("stream-bodies", "Run the application as soon as the head is complete; it reads the body as it arrives."),
    _http(
        "expect",
        "When 100 (Continue) is sent to a client that expects it: server, before the application runs; app, when the "
        "application first reads the body.",
    ),
    _http(
        "underscores",
        "What happens to a header field with an underscore in its name: drop the field, or refuse the request (400).",
    ),
    _http(
        "encoded-slashes",
        "What an application gets for %2F in a path: decode, a slash, which nothing tells from the others; keep, %2F, "
        "as from cheroot and CherryPy's server.",
    ),
    _http(
        "health-path",
        "A path to which the server itself responds, even while every worker is busy: 200, or 503 when the server is "
        "unhealthy; with Accept: application/json or ?json it says why.",
    ),
    _http(
        "ready-path",
        "The same at another path, for a check whether clients are to be sent to the server (Kubernetes: readiness).",
    ),
    _http(
        "live-path",
        "Likewise for a check whether the process has to be started again (Kubernetes: liveness): 503 only if nothing "
        "else helps.",
    ),
    _http(
        "forwarded-fields",
        "The header fields about clients that the trusted-proxies set: forwarded alone, or some of x-forwarded-for, "
        "-proto, -host, -port and -prefix, with commas between them. With trusted-proxies, all others of these six are "
        "removed from every request, and all six from requests of others.",
    ),
    _http("server-header", "The Server field of every response; empty: none."),
    _http("ws-max-message", "The size of a WebSocket message from a client, after it is decompressed."),
    _http("ws-ping", "How long a WebSocket connection may be silent before the server sends a ping. 0: it sends none."),
    _http("ws-pong-timeout", "How long the client may take to send anything after a ping; then it is disconnected."),
    _http("ws-close-timeout", "How long the client may take for its close frame after the server's."),
    _http("ws-compression", "Compress WebSocket messages for clients that offer permessage-deflate."),
    _http(
        "ws-origins",
        "Which pages may open a WebSocket: same, those of the same host; any; or the origins themselves, with commas "
        "between them. Clients without Origin, which are no browsers, always may.",
    ),
    _http("root-path", "The SCRIPT_NAME below which everything is mounted."),
    _static(
        "static",
        "Serve the files of this directory below this path (repeatable), without a worker. The longest prefix wins, "
        "also against --mount.",
    ),
    _static("static-missing", "Who responds when there is no such file: 404, the server; app, the application."),
    _static("static-listing", "List the files of a directory without index.html."),
    _static(
        "static-immutable",
        "Send Cache-Control: a year for names with a hash (app.3f2a9c1b.js), no-cache for all other files.",
    ),
    _limit("max-request-line", "The length of the request line with its CRLF; a longer one gets a 414."),
    _limit("max-field", "The length of a header field line with its CRLF; a longer one gets a 431."),
    _limit("max-head", "The length of the whole head, line ends included; a longer one gets a 431."),
    _limit("max-fields", "The number of field lines in a head; with more the request gets a 431."),
    _limit("max-chunk-line", "The length of a chunk-size line with its extensions and CRLF; a longer one gets a 400."),
    _limit("max-chunk-extensions", "The length of all chunk extensions of a body together; more than that gets a 400."),
    _limit(
        "max-chunk-overhead",
        "The bytes of framing in a chunked body for each byte of content, beyond 64k; with more it gets a 400.",
    ),
    _limit("max-trailer", "The length of the whole trailer section, line ends included; a longer one gets a 431."),
    _limit("max-trailer-fields", "The number of trailer field lines; with more the request gets a 431."),
    _limit("max-body", "The length of the content of a request, with any framing; a longer one gets a 413."),
    Option(
        name="processes",
        kind=CountOr(1, 1024, "auto", "N|auto"),
        group=_PROCESSES,
        default=1,
        help="Worker processes, each with its own threads and its own copy of the application. auto: one for each "
        "processor. With one, this process is the server; with more, it supervises them.",
    ),
    Option(
        name="max-requests",
        kind=Count(1, 999_999_999),
        group=_PROCESSES,
        help="Replace a process that has served this many requests; another one serves before it retires. Default: "
        "without limit.",
    ),
    Option(
        name="max-requests-jitter",
        kind=Count(0, 999_999_999),
        group=_PROCESSES,
        help="Add a random number up to this to max-requests in each process, so that not all are replaced together. "
        "Default: a tenth of max-requests.",
    ),
    Option(
        name="max-memory",
        kind=Size(1 << 20, 1 << 44),
        group=_PROCESSES,
        help="Replace a process whose resident memory is larger, looked at once a second. Default: no limit.",
    ),
    Option(
        name="max-lifetime",
        kind=Seconds(1, 31_536_000),
        group=_PROCESSES,
        help="Replace a process that has served for so long, and up to a tenth longer. Default: without limit.",
    ),
    Option(
        name="preload",
        kind=Flag(),
        group=_PROCESSES,
        default=False,
        help="Import the application once, in a process without threads that forks the worker processes then, so that "
        "they share its memory.",
    ),
    _hook("on-process-start", "Call this function in each process, before it accepts connections."),
    _hook("on-ready", "Call this function in each process when it accepts connections."),
    _hook("on-process-end", "Call this function in each process after its last connection is closed."),
    _hook("on-thread-start", "Call this function on each worker thread before its first request."),
    _hook("on-thread-end", "Call this function on each worker thread after its last request."),
    _hook(
        "on-request-end",
        "Call this function with one argument, a reserve.RequestEnd, on the worker thread when the response of the "
        "application is handed over.",
    ),
    _development(
        "debug",
        "Show the traceback of an exception of the application, in place of the plain 500, to clients on this machine: "
        "peer, Host, and client behind trusted-proxies are loopback.",
    ),
    Option(
        name="reload",
        kind=Flag(),
        group=_DEVELOPMENT,
        default=False,
        help="Start the application again when a Python file below the working directory or a directory of PYTHONPATH "
        "changes, or the configuration. A version that cannot start is reported, and the previous one serves on.",
    ),
    Option(
        name="reload-include",
        kind=Text("a pattern, as *.html, or a directory", bool, "PATTERN", "a pattern for files"),
        group=_DEVELOPMENT,
        repeat=True,
        default=(),
        help="With reload also watch these files: *.html names files anywhere, templates/*.html those below a "
        "directory, and templates all files in it (repeatable).",
    ),
    Option(
        name="open",
        kind=Flag(),
        group=_DEVELOPMENT,
        default=False,
        help="Open the first address in the browser when the server is ready.",
    ),
    _monitoring("access-log", "Write one line for each request to the access log."),
    _monitoring(
        "access-log-format",
        "What a line says: common, combined or json, or a pattern with atoms, as '%(h)s \"%(r)s\" %(s)s %(queue)s'. "
        "See reserve/docs/logs.md.",
    ),
    _monitoring(
        "access-log-file",
        "Where lines go: - is standard output; a path, opened for append, and again after SIGUSR1; syslog: (the local "
        "one), syslog:HOST:PORT (UDP), syslog:/PATH; logger:NAME, a logger of the application.",
    ),
    _monitoring(
        "access-log-skip",
        "Requests for this path have no line in the access log (repeatable). With * at its end: for every path that "
        "begins so.",
    ),
    Option(
        name="error-log-file",
        kind=_FILE,
        group=_MONITORING,
        help="From the moment the server is ready, standard error, with the error log, is this file, opened for "
        "append, and again after SIGUSR1. Until then messages go where they went before. - is no file.",
    ),
    _monitoring(
        "request-id",
        "Give each request an ID, X-Request-ID of trusted-proxies or a new one: environ, for the application, as "
        "reserve.request_id; response, also in the field X-Request-ID of the response. off: only if a log shows it.",
    ),
    _monitoring(
        "slow-request",
        "A request that runs longer than this is logged, once, with the stack of its thread, and goes on. 0: none is.",
        EngineSettings,
    ),
    _monitoring(
        "server-timing",
        "Send the field Server-Timing with each response of the application: how long it waited for a worker, and how "
        "long the application took until the head was sent.",
    ),
    _monitoring(
        "status-path",
        "Show a page at this path with what all processes and threads do at this moment, also while every worker is "
        "busy; with ?json the same as JSON.",
    ),
    _monitoring(
        "status-allow",
        "Which clients may see the status page: any, or loopback, private (networks), addresses, networks "
        "(192.0.2.0/24), and unix for "
        "those without an address, with commas between them. Behind trusted-proxies it is the address that they tell.",
    ),
    _monitoring(
        "metrics-path",
        "A path at which the server itself has the metrics of all its processes for Prometheus, even while every "
        "worker is busy.",
    ),
    _monitoring(
        "metrics-allow",
        "Which clients may read the metrics there: any, or loopback, private (networks), addresses, networks "
        "(192.0.2.0/24), and unix for "
        "those without an address, with commas between them. Behind trusted-proxies it is the address that they tell.",
    ),
    Option(
        name="metrics-bind",
        kind=_ADDRESS,
        group=_MONITORING,
        repeat=True,
        default=(),
        help="Listen on this address for Prometheus and health checks alone, with threads and connections of its own: "
        "/metrics, /health, /ready and /live. All who reach the address may read them.",
    ),
    Option(
        name="statsd",
        kind=Text("HOST:PORT or HOST:PORT,PREFIX", is_statsd_target, "HOST:PORT[,PREFIX]", "an address"),
        group=_MONITORING,
        help="Send the metrics to this StatsD server, by UDP, with names that begin with PREFIX (reserve).",
    ),
    Option(
        name="statsd-interval",
        kind=Seconds(0.1),
        group=_MONITORING,
        default=10.0,
        help="How often they are sent.",
    ),
    Option(
        name="statsd-tags",
        kind=Flag(),
        group=_MONITORING,
        default=False,
        help="Send labels as tags, as DogStatsD, Telegraf and Vector read them, not as a part of the name.",
    ),
    Option(
        name="control",
        kind=_FILE,
        group=_MONITORING,
        help="Listen on this UNIX socket for commands about the running server: reserve status, stacks, connections, "
        "top, reload, stop, threads, processes, log-level. They have this option, too.",
    ),
    Option(
        name="control-mode",
        kind=Octal(),
        group=_MONITORING,
        default=0o600,
        help="Permissions of the file of control; 660 lets the group of the process control the server, too.",
    ),
    Option(
        name="control-readonly",
        kind=_FILE,
        group=_MONITORING,
        help="Another such socket, for the commands that change nothing. The group of the process may use it, too.",
    ),
    Option(name="chdir", kind=_DIRECTORY, group=_COMMAND, help="Change to this directory before anything is opened."),
    Option(
        name="pid-file",
        kind=_FILE,
        group=_COMMAND,
        help="Write the process ID to this file before the application is imported, and remove it at the end, if the "
        "user may. A file that names a server of reserve that runs is an error.",
    ),
    Option(
        name="umask",
        kind=Octal("022", unit="octal permission bits that new files do not get"),
        group=_COMMAND,
        help="The permission bits that new files do not get, as those of unix:PATH binds. Default: as it was.",
    ),
    Option(
        name="user",
        kind=Text("USER or USER:GROUP, names or numbers", _is_user, "USER[:GROUP]", "a user"),
        group=_COMMAND,
        help="Change to this user, for good, before the application is imported, and to its groups; the listeners are "
        "open and the certificates loaded by then. Only root may. The user owns the files of unix:PATH binds, and gets "
        "HOME, USER and LOGNAME.",
    ),
    Option(
        name="group",
        kind=Text("a group, as a name or a number", lambda text: text.strip() != "" and ":" not in text, "GROUP"),
        group=_COMMAND,
        help="Change to this group, with --user or without it. Default: that of the user.",
    ),
    Option(
        name="daemon",
        kind=Flag(),
        group=_COMMAND,
        default=False,
        help="Serve in the background, in a new session. The command returns 0 when the server serves, or its exit "
        "code. Standard streams that are no files become /dev/null then. A unit of systemd does not want it.",
    ),
    Option(
        name="open-files",
        kind=CountOr(64, 1048576, "keep", "N|keep"),
        group=_COMMAND,
        help="The soft limit of open files (ulimit -Sn), which processes of the application inherit. keep: as it was. "
        "Default: raised, if it is lower and the hard limit allows it, to two for each of max-connections and 4096 "
        "more.",
    ),
    Option(
        name="env",
        kind=Pair(),
        group=_COMMAND,
        repeat=True,
        default=(),
        sources=(COMMAND, FILE),
        help="Set an environment variable before the application is imported (repeatable).",
    ),
    Option(
        name="log-level",
        kind=Choice(_LEVELS),
        group=_COMMAND,
        default="info",
        help="The lowest level of messages in the error log, which goes to standard error.",
    ),
    Option(
        name="config",
        kind=_FILE,
        group=_COMMAND,
        sources=(COMMAND, ENVIRONMENT),
        help="Read this file. Default: reserve.toml, otherwise pyproject.toml, in the working directory.",
    ),
    Option(name="version", kind=Flag(), group=_COMMAND, sources=(COMMAND,), help="Print the version and exit."),
    Option(
        name="help",
        short="-h",
        kind=Flag(),
        group=_COMMAND,
        sources=(COMMAND,),
        help="Print examples and the frequent options, and exit.",
    ),
    Option(name="help-all", kind=Flag(), group=_COMMAND, sources=(COMMAND,), help="Print all options and exit."),
)

HOOKS = tuple(option for option in OPTIONS if option.kind is _FUNCTION)
"""The options with functions that the server calls."""

ADDRESSES = tuple(option.name for option in OPTIONS if option.kind is _ADDRESS)
"""The names of the options with addresses of listeners."""

NEED_TLS = tuple(option.name for option in OPTIONS if option.group == _TLS and option.name != "tls-cert")
"""The names of the options that have no effect without a certificate."""

COMMAND_NEEDS = (
    Need(("max_requests_jitter",), ("max_requests",), "no process is replaced after a number of requests"),
    Need(("reload_include",), ("reload",), "no file is watched"),
    Need(("statsd_interval", "statsd_tags"), ("statsd",), "no metrics are sent"),
)
"""Which options of the command have no effect while others are off; it says so when the server is ready."""

_USUAL = {
    "access-log-file": "access.log",
    "control": "/tmp/reserve.control",
    "control-readonly": "/tmp/reserve-readonly.control",
    "error-log-file": "error.log",
    "max-lifetime": "1d",
    "max-memory": "1g",
    "max-requests": "10000",
    "max-requests-jitter": "1000",
    "metrics-bind": "127.0.0.1:9100",
    "open-files": "keep",
    "statsd": "127.0.0.1:8125",
    "trusted-proxies": "127.0.0.1",
    "umask": "027",
    "unix-mode": "660",
}
"""Values that work, of options that have none by default."""
USUAL_ADDRESS = "127.0.0.1:8080"
"""An address that works on every machine, for examples."""


def usual_value(option: Option) -> str:
    """A value that works, for the line that a message proposes: mostly the default as it is written; empty: unknown."""
    if option.default in (None, (), ""):
        return _USUAL.get(option.name, USUAL_ADDRESS if option.kind is _ADDRESS else "")
    return option.kind.format(option.default)


FLAGS: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}
"""Every name on the command line, and its option."""
