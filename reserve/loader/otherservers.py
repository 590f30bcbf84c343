"""Options of other servers, and what reserve has in their place: the one table of them.

Pure data and functions; the main thread uses them at start, after an option was not found, and for ``reserve migrate``.
The messages, the lines that they propose, the files that ``reserve migrate`` prints, a section of
``reserve/docs/options.md`` and the tables of ``reserve/docs/migrating.md`` are made from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = [
    "BY_NAME",
    "DEFAULT_ADDRESSES",
    "FOREIGN",
    "NOT_READ",
    "OWN_NAMES",
    "PROGRAMS",
    "ForeignOption",
    "address_of",
    "converted",
    "has_foreign_name",
    "split_option",
]


@dataclass(frozen=True, slots=True)
class ForeignOption:
    """One or more options of other servers with the same meaning."""

    names: str
    """Their names, separated by spaces."""
    ours: str
    """The option of reserve that is nearest, with its value as the help shows it (``--threads N``); empty: none."""
    why: str = ""
    """How reserve differs, or why it has no such option; it is a clause of a sentence."""
    value: str = "{}"
    """The value of our option, made from theirs; empty: a proposed line leaves the option out."""
    is_flag: bool = False
    """Their option takes no value."""

    @property
    def flag(self) -> str:
        """The option of reserve without its value; empty: none."""
        return self.ours.partition(" ")[0]


def _none(names: str, why: str, *, is_flag: bool = False) -> ForeignOption:
    """An option that reserve does not have."""
    return ForeignOption(names, "", why, "", is_flag)


_BEHIND = "--trusted-proxies and --forwarded-fields say what is believed of a frontend, see reserve/docs/behind.md"
_STDERR = "the error log goes to standard error, or to --error-log-file FILE"
_PROCESSES = "reserve supervises its worker processes itself (--processes N)"
_RELOAD = "--reload and --reload-include PATTERN say what is watched, and nothing has to be tuned"
_FILES = "folders are served with --static /PREFIX=DIR, as in reserve/docs/static.md"
_ADDRESS = "--bind HOST:PORT"

FOREIGN: tuple[ForeignOption, ...] = (
    # threads and processes
    ForeignOption("-w --workers", "--processes N"),
    ForeignOption("--max-threads", "--threads MIN:MAX", "a pool that grows has one option with both numbers", ""),
    _none("--blocking-threads-idle-timeout", "with --threads MIN:MAX idle threads end by themselves"),
    ForeignOption("--blocking-threads --runtime-threads --runtime-blocking-threads", "--threads N"),
    _none(
        "-k --worker-class --loop --runtime-mode --task-impl --interface --gevent --asyncio --async --server-type "
        "--dirty-app --dirty-apps --dirty-workers --dirty-threads --dirty-timeout --dirty-graceful-timeout",
        "reserve has one kind of workers: processes with threads",
    ),
    _none(
        "-M --master --enable-threads -T --single-interpreter --thunder-lock --no-orphans "
        "--py-call-osafterfork --auto-procname --respawn-failed-workers --procname-prefix-spaced --strict",
        _PROCESSES,
        is_flag=True,
    ),
    _none(
        "--cheaper --cheaper-initial --cheaper-step --cheaper-algo --offload-threads "
        "--respawn-interval --reload-on-as --evil-reload-on-rss --mule --mules "
        "--cpu-affinity --rss-sample-interval --rss-samples --timeout-worker-healthcheck",
        _PROCESSES,
    ),
    ForeignOption("--preload-app", "--preload", is_flag=True),
    _none("--lazy-apps --lazy", "each process imports the application itself unless --preload is given", is_flag=True),
    _none("--need-app", "a start without the application always fails", is_flag=True),
    ForeignOption("--limit-max-requests", "--max-requests N"),
    ForeignOption("--limit-max-requests-jitter", "--max-requests-jitter N"),
    ForeignOption("--max-worker-lifetime --workers-lifetime", "--max-lifetime TIME"),
    _none("--min-worker-lifetime", "a process that is replaced soon after its start delays the next one"),
    ForeignOption("--workers-max-rss --reload-on-rss", "--max-memory SIZE", value="{}m"),
    _none(
        "--reload-ignore-worker-failure", "with --reload a version that fails waits for the next change", is_flag=True
    ),
    ForeignOption(
        "--reload-extra-file --reload-paths --reload-dir", "--reload-include PATTERN", "a pattern may be a directory"
    ),
    _none(
        "--reload-engine --reload-ignore-dirs --reload-ignore-patterns --reload-ignore-paths --reload-exclude "
        "--reload-delay --reload-tick",
        _RELOAD,
    ),
    ForeignOption("--py-autoreload", "--reload", "a change is noticed in less than a second", ""),
    _none("--touch-reload --touch-chain-reload", "the signal SIGHUP reloads the application"),
    ForeignOption("--backpressure --limit-concurrency --accepted-queue-size", "--max-queued N"),
    ForeignOption("--accepted-queue-timeout", "--queue-timeout TIME"),
    ForeignOption("--request-queue-size", "--backlog N"),
    ForeignOption("--worker-connections --connection-limit", "--max-connections N"),
    # addresses
    ForeignOption("-p --port", _ADDRESS, value="localhost:{}"),
    ForeignOption("--host", _ADDRESS, value="{}:8080"),
    ForeignOption(
        "--listen --http-socket --http --https --http11-socket --https-socket --socket -s --uwsgi-socket "
        "--fastcgi-socket --scgi-socket",
        _ADDRESS,
    ),
    ForeignOption("--insecure-bind", "--plain-bind ADDR"),
    ForeignOption("--unix-socket --uds", "--bind unix:PATH", value="unix:{}"),
    ForeignOption("--fd", "--bind fd:N", value="fd:{}"),
    ForeignOption("--unix-socket-perms --uds-permissions --chmod-socket -C", "--unix-mode MODE"),
    ForeignOption("--chown-socket", "--unix-owner OWNER"),
    _none("--ipv4 --ipv6", "the address says it: 0.0.0.0:PORT, [::]:PORT", is_flag=True),
    _none("--sockets", "sdlaunch and systemd pass sockets, and --bind fd:N names one"),
    _none("--server-name", "an application gets the name that the client asks for (Host)"),
    _none("--vacuum", "reserve always removes the files of its sockets", is_flag=True),
    _none("--reuse-port --reuse-addr", "the processes share one listener", is_flag=True),
    # times
    ForeignOption(
        "-t --timeout", "--request-timeout for how long a request may run, --keep-alive for idle connections"
    ),
    ForeignOption("--harakiri --http-timeout --socket-timeout --timeout-worker-request", "--request-timeout TIME"),
    ForeignOption(
        "--graceful-timeout --timeout-graceful-shutdown --workers-kill-timeout --reload-mercy --worker-reload-mercy "
        "--shutdown-timeout",
        "--stop-timeout TIME",
    ),
    ForeignOption(
        "--channel-timeout --timeout-keep-alive --http1-keep-alive-timeout --keep-alive-timeout", "--keep-alive TIME"
    ),
    ForeignOption("--read-timeout", "--head-timeout TIME"),
    _none("--cleanup-interval", "reserve closes an idle connection when its own time is over"),
    ForeignOption("--http1-header-read-timeout", "--head-timeout TIME", "theirs is in milliseconds", ""),
    # TLS
    ForeignOption("--certfile --ssl-certfile --ssl-certificate", "--tls-cert FILE"),
    ForeignOption("--keyfile --ssl-keyfile", "--tls-key FILE"),
    ForeignOption("--ssl-keyfile-password --keyfile-password", "--tls-password-file FILE", "", ""),
    ForeignOption("--ca-certs --ssl-ca-certs --ssl-ca", "--tls-client-ca FILE"),
    ForeignOption("--cert-reqs --ssl-cert-reqs --verify-mode", "--tls-client-cert WORD", "", ""),
    ForeignOption("--ssl-crl", "--tls-crl FILE"),
    ForeignOption("--ssl-version --ssl-protocol-min", "--tls-min-version WORD", "", ""),
    _none("--ssl-client-verify", "write --tls-client-cert required, with --tls-client-ca FILE", is_flag=True),
    _none("--do-handshake-on-connect --suppress-ragged-eofs", "reserve handles TLS itself", is_flag=True),
    _none(
        "--http2-adaptive-window --http2",
        "reserve speaks HTTP/1.1; a frontend speaks others, as in reserve/docs/behind.md",
        is_flag=True,
    ),
    _none(
        "--h2-max-concurrent-streams --http2-cleartext --http2-max-concurrent-streams "
        "--http2-initial-connection-window-size "
        "--http2-initial-stream-window-size --http2-initial-window-size --http2-keep-alive-interval "
        "--http2-keep-alive-timeout --http2-max-frame-size --http2-max-headers-size --http2-max-header-list-size "
        "--http2-max-send-buffer-size --http-protocols --quic-bind",
        "reserve speaks HTTP/1.1; a frontend speaks others, as in reserve/docs/behind.md",
    ),
    ForeignOption("--ciphers --ssl-ciphers", "--tls-ciphers TEXT"),
    # limits
    ForeignOption("--limit-request-line", "--max-request-line SIZE"),
    ForeignOption("--limit-request-fields", "--max-fields N"),
    ForeignOption("--limit-request-field_size --limit-request-field-size", "--max-field SIZE"),
    ForeignOption("--max-request-header-size --buffer-size --h11-max-incomplete-event-size", "--max-head SIZE"),
    ForeignOption("--max-request-body-size --limit-post", "--max-body SIZE"),
    ForeignOption("--inbuf-overflow --post-buffering", "--body-memory SIZE"),
    ForeignOption("--outbuf-overflow --outbuf-high-watermark", "--response-memory SIZE"),
    _none(
        "--permit-obsolete-folding --strip-header-spaces --permit-unconventional-http-method "
        "--permit-unconventional-http-version --casefold-http-method",
        "what is refused, and why, is in reserve/docs/strictness.md",
        is_flag=True,
    ),
    ForeignOption("--header-map", "--underscores WORD", "", ""),
    ForeignOption("--tmp-upload-dir", "--spool-dir DIR"),
    _none("--asyncore-loop-timeout --channel-request-lookahead", "reserve has an event loop of its own"),
    _none("--protocol --http-parser", "the protocol stands after app: http, uwsgi, fcgi or scgi"),
    _none(
        "--http1-keep-alive --no-http1-keep-alive", "--keep-alive TIME says how long, and 0 means never", is_flag=True
    ),
    _none("--recv-bytes --send-bytes --http1-buffer-size", "reserve chooses the sizes of its reads and writes"),
    # the application
    ForeignOption(
        "--wsgi-file --file --module", "", "the application is no option; its module stands after app http wsgi", "name"
    ),
    ForeignOption("--factory --call", "", "a factory is written as a call: shop:create_app()", "call", is_flag=True),
    _none("--callable", "the callable stands after the module: shop:app"),
    ForeignOption("--url-prefix --url-path-prefix", "--root-path TEXT"),
    ForeignOption(
        "--pythonpath --python-path --pp --app-dir",
        "--chdir DIR",
        "the working directory is the first one of the import path",
    ),
    ForeignOption("--working-dir", "--chdir DIR"),
    ForeignOption("-e", "--env NAME=VALUE"),
    _none("--env-file --env-files", "the shell or systemd (EnvironmentFile=) sets variables, and --env one at a time"),
    _none("-H --virtualenv --venv --home", "start the reserve that is installed in that environment: DIR/bin/reserve"),
    _none(
        "--plugin --plugins --paste --paster --paste-global --spooler --cron",
        "reserve serves applications, and does nothing else",
    ),
    _none(
        "--static-map --check-static --static-path-mount --static-path-route --static-path-dir-to-file "
        "--static-path-expires",
        _FILES,
    ),
    _none("--header", "an application or a frontend adds fields to responses"),
    ForeignOption(
        "--expose-tracebacks",
        "--debug",
        "tracebacks go to the error log, and with it to clients on this machine",
        "",
        is_flag=True,
    ),
    _none("--lifespan --asgi-lifespan --asgi-loop --asgi-disconnect-grace-period", "WSGI has no lifespan events"),
    _none("--reset-contextvars", "every request has a context of its own", is_flag=True),
    # WebSocket
    _none("--ws", "--websocket /PATH=NAME names a WebSocket handler, and there is one implementation"),
    _none("--http-websockets", "--websocket /PATH=NAME names a WebSocket handler", is_flag=True),
    ForeignOption("--ws-max-size --websocket-max-message-size", "--ws-max-message SIZE"),
    ForeignOption("--ws-ping-interval --websocket-ping-interval", "--ws-ping TIME"),
    ForeignOption("--ws-ping-timeout", "--ws-pong-timeout TIME"),
    ForeignOption("--ws-per-message-deflate", "--ws-compression or --no-ws-compression", value=""),
    _none("--ws-max-queue", "the messages of a client are received one at a time"),
    # behind a frontend
    ForeignOption(
        "--forwarded-allow-ips --trusted-proxy --proxy-allow-from --proxy-protocol-from", "--trusted-proxies LIST"
    ),
    ForeignOption("--trusted-proxy-headers", "--forwarded-fields LIST"),
    _none(
        "--url-scheme --secure-scheme-headers --forwarder-headers --trusted-proxy-count --uwsgi-allow-from "
        "--uwsgi-allow-ips",
        _BEHIND,
    ),
    _none("--proxy-headers --clear-untrusted-proxy-headers --log-untrusted-proxy-headers", _BEHIND, is_flag=True),
    # logs
    ForeignOption("--access-logfile", "--access-log-file DESTINATION"),
    ForeignOption("--disable-logging -L --no-log", "--no-access-log", value="", is_flag=True),
    ForeignOption("--error-logfile --error-log --log-file --logfile --logto --logto2", "--error-log-file FILE"),
    ForeignOption("--access-logformat", "--access-log-format FORMAT"),
    ForeignOption(
        "--access-log-fmt --log-format --logformat",
        "--access-log-format FORMAT",
        "its atoms are those of gunicorn, as %(h)s, see reserve/docs/logs.md",
        "",
    ),
    _none(
        "--log-syslog-to --log-syslog-prefix --log-syslog-facility",
        "the access log goes to syslog with --access-log-file syslog:HOST:PORT, see reserve/docs/logs.md",
    ),
    _none(
        "--log-config --log-config-json --logger-class --logconfig-dict --statsd-host --statsd-prefix "
        "--dogstatsd-tags --stats --stats-server --log-maxsize --metrics-address --metrics-port "
        "--metrics-scrape-interval",
        _STDERR,
    ),
    _none(
        "--log-syslog --capture-output --enable-backlog-metric --log-master --log-5xx --log-4xx "
        "--log-x-forwarded-for --spew --metrics "
        "--enable-stdio-inheritance --disable-redirect-access-to-syslog",
        "standard output and standard error are what systemd logs",
        is_flag=True,
    ),
    _none("--no-server-header", "--server-header '' sends no Server field", is_flag=True),
    _none("--log", "--log-level chooses what is written", is_flag=True),
    _none("--use-colors", "reserve writes no colours", is_flag=True),
    ForeignOption("--ident", "--server-header TEXT"),
    # the process
    ForeignOption("-u --uid", "--user USER[:GROUP]"),
    ForeignOption("-g --gid", "--group GROUP"),
    _none("--initgroups", "--user always sets the groups of the user", is_flag=True),
    ForeignOption("--control-socket", "--control FILE"),
    ForeignOption("--control-socket-mode", "--control-mode MODE"),
    _none("--control-socket-disable --no-control-socket", "reserve has none without --control", is_flag=True),
    ForeignOption("-m", "--umask MODE"),
    ForeignOption("--pid --pidfile --pidfile2 --safe-pidfile", "--pid-file FILE"),
    ForeignOption("-D", "--daemon", value="", is_flag=True),
    ForeignOption("--daemonize", "--daemon", "logs go to --access-log-file FILE and --error-log-file FILE", ""),
    _none("-n --name --proc-name --procname --process-name", "ps and systemd show the command line as it is"),
    ForeignOption("-c --ini --yaml --xml --json", "--config FILE", "files with options are in TOML", ""),
    _none(
        "--check-config --print-config --show-config",
        "reserve check-config checks the options and shows them",
        is_flag=True,
    ),
    _none("--worker-tmp-dir", "threads need no files to show that they live; for bodies there is --spool-dir"),
    _none(
        "--die-on-term --no-sendfile --sendfile --ignore-sigpipe --ignore-write-errors --disable-write-exception "
        "--harakiri-verbose --manage-script-name --memory-report --asyncore-use-poll --date-header "
        "--http1-pipeline-flush --log-socket-errors --http-keepalive --so-keepalive",
        "it is always so, or has no meaning here",
        is_flag=True,
    ),
    ForeignOption("-v -V", "--version", value="", is_flag=True),
)

BY_NAME: dict[str, ForeignOption] = {name: entry for entry in FOREIGN for name in entry.names.split()}


PROGRAMS = {
    "gunicorn": "gunicorn",
    "uwsgi": "uwsgi",
    "pyuwsgi": "uwsgi",
    "waitress-serve": "waitress",
    "waitress": "waitress",
    "cheroot": "cheroot",
    "granian": "granian",
    "hypercorn": "hypercorn",
    "uvicorn": "uvicorn",
}
"""The programs whose command lines ``reserve migrate`` reads, and their servers."""

DEFAULT_ADDRESSES = {
    "gunicorn": "127.0.0.1:8000",
    "waitress": "0.0.0.0:8080",
    "cheroot": "[::]:8000",
    "granian": "127.0.0.1:8000",
    "hypercorn": "127.0.0.1:8000",
    "uvicorn": "127.0.0.1:8000",
}
"""Where each server listens if it is not told."""

OWN_NAMES: dict[str, dict[str, str]] = {
    "gunicorn": {
        "-p": "--pid",
        "-R": "--enable-stdio-inheritance",
        "--accesslog": "--access-logfile",
        "--access-log-format": "--access-logformat",
        "--default-proc-name": "--name",
        "--errorlog": "--error-logfile",
        "--keepalive": "--keep-alive",
        "--logconfig": "--log-config",
        "--logconfig-json": "--log-config-json",
        "--loglevel": "--log-level",
        "--proxy-allow-ips": "--proxy-allow-from",
        "--raw-env": "--env",
        "--raw-paste-global-conf": "--paste",
        "--reload-extra-files": "--reload-extra-file",
        "--syslog": "--log-syslog",
        "--syslog-addr": "--log-syslog-to",
        "--syslog-facility": "--log-syslog-facility",
        "--syslog-prefix": "--log-syslog-prefix",
    },
    "cheroot": {"--timeout": "--keep-alive-timeout"},
    "granian": {"--http": "--h2-max-concurrent-streams", "--ws": "--http-websockets"},
    "hypercorn": {
        "-p": "--pid",
        "--accesslog": "--access-logfile",
        "--errorlog": "--error-logfile",
        "--loglevel": "--log-level",
    },
    "uwsgi": {
        "-b": "--buffer-size",
        "-d": "--daemonize",
        "-i": "--single-interpreter",
        "-l": "--backlog",
        "-p": "--processes",
        "-t": "--harakiri",
        "-w": "--module",
        "-z": "--socket-timeout",
        "--listen": "--backlog",
        "--wsgi": "--module",
    },
    "uvicorn": {"--http": "--http-parser", "--server-header": "--date-header"},
}
"""Names that a server has for options that stand under other names in the table, or with another meaning.

The keys of its files are written as options here: ``accesslog`` as ``--accesslog``.
"""

_HOOK = "reserve calls no functions of a configuration file"
_NO_ARGUMENTS = "not migrated, because it takes other arguments: {} names a function without arguments"
_HOOKS = """
on_reload pre_fork worker_int worker_abort pre_exec pre_request child_exit nworkers_changed ssl_context dirty_post_fork
dirty_worker_init dirty_worker_exit on_dirty_starting
"""
NOT_READ = {
    **dict.fromkeys(_HOOKS.split(), _HOOK),
    **dict.fromkeys(("on_starting", "post_fork"), _NO_ARGUMENTS.format("--on-process-start")),
    **dict.fromkeys(("when_ready", "post_worker_init"), _NO_ARGUMENTS.format("--on-ready")),
    **dict.fromkeys(("worker_exit", "on_exit"), _NO_ARGUMENTS.format("--on-process-end")),
    "post_request": "not migrated, because it takes other arguments: --on-request-end names a function with one "
    "argument, a reserve.RequestEnd",
}
"""Settings of a ``gunicorn.conf.py`` that are functions, and why they are not carried over."""


def has_foreign_name(argument: str) -> bool:
    """Whether an argument is an option of another server."""
    return argument.startswith("-") and split_option(argument)[0] in BY_NAME


def split_option(argument: str) -> tuple[str, str | None]:
    """The name of an option, and the value that is attached to it: ``--workers=4``, ``-w4``."""
    if argument.startswith("--"):
        name, equals, value = argument.partition("=")
        return name, value if equals else None
    return argument[:2], argument[2:].removeprefix("=") or None


def converted(words: Sequence[str], nearest_flag: Callable[[str], str | None]) -> list[str] | None:
    """Words of a command line, with the options of other servers replaced by ours; None if one of them is unknown.

    :param nearest_flag: finds the option of ours that a name resembles.
    """
    result: list[str] = []
    plain: list[int] = []  # the indices in result of the words that are no options and no values
    addresses: dict[str, str] = {}
    is_call = False
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(len(result))
            result.append(word)
            continue
        name, value = split_option(word)
        entry = BY_NAME.get(name)
        if entry is None:
            match = nearest_flag(word)
            if match is None:
                return None
            result.append(match + (f"={value}" if value is not None else ""))
            continue
        if (
            value is None
            and not entry.is_flag
            and remaining
            and (remaining[0] == "-" or not remaining[0].startswith("-"))
        ):
            value = remaining.pop(0)
        if entry.value == "call":
            is_call = True
        elif entry.value == "name":
            result.append(value or "")
        elif entry.ours == _ADDRESS and entry.value != "{}" and value:
            addresses[entry.value] = value
        elif entry.is_flag:
            result += [entry.flag] if entry.flag else []
        elif entry.value and value:
            result += [entry.flag, entry.value.format(value)]
    if is_call:
        position = next((index for index in plain if ":" in result[index] and not result[index].endswith(")")), None)
        if position is not None:
            result[position] += "()"
    if addresses:  # --host and --port are one address
        result += ["--bind", address_of(addresses.get("{}:8080", "localhost"), addresses.get("localhost:{}", "8080"))]
    return result


def address_of(host: str, port: str) -> str:
    """The address of a host and a port that other servers have two options for."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
