"""The page ``reserve/docs/migrating.md``: the options of each other server, one by one, and what reserve has.

Pure; runs on the main thread. What is said of an option comes from :mod:`reserve.loader.otherservers`; the options that
a server has are listed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reserve.loader.otherservers import BY_NAME, NOT_READ, OWN_NAMES
from reserve.options.table import FLAGS

__all__ = ["SERVERS", "migrating_page"]

SERVERS: dict[str, str] = {
    "gunicorn": """
        wsgi_app bind backlog reuse_port workers worker_class threads worker_connections max_requests
        max_requests_jitter timeout graceful_timeout keepalive limit_request_line limit_request_fields
        limit_request_field_size reload reload_engine reload_extra_files spew check_config print_config preload_app
        sendfile chdir daemon raw_env pidfile worker_tmp_dir user group umask initgroups tmp_upload_dir
        secure_scheme_headers forwarded_allow_ips forwarder_headers header_map proxy_protocol proxy_allow_ips accesslog
        access_log_format disable_redirect_access_to_syslog errorlog loglevel capture_output logger_class logconfig
        logconfig_dict logconfig_json syslog syslog_addr syslog_prefix syslog_facility enable_stdio_inheritance
        statsd_host statsd_prefix dogstatsd_tags proc_name default_proc_name pythonpath paste raw_paste_global_conf
        keyfile certfile ca_certs cert_reqs ciphers ssl_version do_handshake_on_connect suppress_ragged_eofs
        permit_obsolete_folding strip_header_spaces permit_unconventional_http_method
        permit_unconventional_http_version casefold_http_method protocol http_protocols uwsgi_allow_ips control_socket
        control_socket_disable on_starting on_reload when_ready pre_fork post_fork post_worker_init worker_int
        worker_abort pre_exec pre_request post_request child_exit worker_exit nworkers_changed on_exit ssl_context
    """,
    "uwsgi": """
        module wsgi-file callable http http-socket https socket uwsgi-socket fastcgi-socket scgi-socket protocol listen
        chmod-socket chown-socket vacuum processes workers threads enable-threads master lazy-apps single-interpreter
        thunder-lock cheaper cheaper-initial offload-threads max-requests max-worker-lifetime reload-on-rss harakiri
        http-timeout socket-timeout reload-mercy worker-reload-mercy buffer-size post-buffering limit-post chdir
        pythonpath virtualenv home env need-app plugins spooler cron mule static-map check-static touch-reload
        py-autoreload disable-logging logto log-format log-master log-x-forwarded-for stats pidfile safe-pidfile
        daemonize procname uid gid umask die-on-term ignore-sigpipe ignore-write-errors disable-write-exception
        memory-report strict ini
    """,
    "waitress": """
        host port listen ipv4 ipv6 unix-socket unix-socket-perms sockets backlog threads trusted-proxy
        trusted-proxy-count trusted-proxy-headers log-untrusted-proxy-headers clear-untrusted-proxy-headers url-scheme
        url-prefix ident server-name call connection-limit cleanup-interval channel-timeout channel-request-lookahead
        recv-bytes send-bytes outbuf-overflow outbuf-high-watermark inbuf-overflow max-request-header-size
        max-request-body-size expose-tracebacks log-socket-errors asyncore-loop-timeout asyncore-use-poll
    """,
    "cheroot": """
        bind chdir server-name threads max-threads timeout shutdown-timeout request-queue-size accepted-queue-size
        accepted-queue-timeout
    """,
    "granian": """
        host port uds uds-permissions http ws workers interface blocking-threads blocking-threads-idle-timeout
        runtime-threads runtime-blocking-threads runtime-mode loop task-impl backlog backpressure http1-buffer-size
        http1-header-read-timeout http1-keep-alive http1-pipeline-flush http2-keep-alive-interval
        http2-max-concurrent-streams log log-level log-config access-log access-log-fmt ssl-certificate ssl-keyfile
        ssl-keyfile-password ssl-protocol-min ssl-ca ssl-crl ssl-client-verify url-path-prefix
        respawn-failed-workers respawn-interval rss-samples workers-lifetime workers-max-rss workers-kill-timeout
        factory working-dir env-files static-path-mount static-path-route static-path-expires metrics metrics-port
        reload reload-paths reload-ignore-dirs reload-tick process-name pid-file
    """,
}
"""The options of each server: as keys of a ``gunicorn.conf.py`` and of a ``uwsgi.ini``, and without the dashes of the
command lines of the others."""

_TITLES = {"uwsgi": "uWSGI"}
_NOTES = {
    "gunicorn": """\
A `gunicorn.conf.py` is parsed, and nothing in it is run: `reserve migrate gunicorn.conf.py`. Values that only running
it would tell are named in comments, and so are defaults that an environment variable would replace. gunicorn's
`workers` are worker processes, which reserve calls `processes`. gunicorn's default address is `127.0.0.1:8000`.""",
    "uwsgi": """\
`reserve migrate uwsgi.ini` reads the section `[uwsgi]`. Variables (`%d`, `$(NAME)`) are not translated. A `socket`
speaks the protocol uwsgi, which is the application `reserve app uwsgi wsgi NAME` ([web servers](webservers.md)).""",
    "waitress": """\
`reserve migrate "waitress-serve --port=8041 shop:app"` reads the command line. The arguments of `waitress.serve(app,
...)` have the same names with underscores; the program calls `reserve.ReserveWSGIServer` instead.""",
    "cheroot": """\
This is the command `cheroot`. Programs that make a `cheroot.wsgi.Server` go on with `reserve.compat.cheroot`: [its
page](cheroot.md) has every parameter.""",
    "granian": """\
`reserve migrate "granian --interface wsgi shop:app"` reads the command line. reserve serves WSGI applications; for
those of ASGI there is [a2wsgi](https://pypi.org/project/a2wsgi/).""",
}
_NAMED = {
    "wsgi_app": "the application stands after `app http wsgi`",
    "module": "the application stands after `app http wsgi`",
}


def migrating_page() -> str:
    """The whole page."""
    lines = [
        "# From another server",
        "",
        "Made by `python -m reserve.options migrating > reserve/docs/migrating.md` from the table in",
        "`reserve/loader/otherservers.py`.",
        "",
        "`reserve migrate` prints the `reserve.toml` for the configuration of another server, and as comments the line",
        "that starts the server and everything that has no equal, with the reason. It runs nothing. Values of",
        "environment variables are not printed, because they may be secrets.",
        "",
        "```sh",
        "reserve migrate gunicorn.conf.py > reserve.toml",
        "reserve migrate uwsgi.ini > reserve.toml",
        'reserve migrate "waitress-serve --port=8041 shop:app" > reserve.toml',
        "reserve check-config",
        "```",
        "",
        "Two things differ from most servers: reserve is one process with threads, and its limits are on without being",
        "configured ([what each one does](adversity.md)). [Configuration](configuration.md) is about the file.",
    ]
    for server, names in SERVERS.items():
        lines += ["", f"## {_TITLES.get(server, server)}", "", _NOTES[server], ""]
        lines += ["| option | what reserve has |", "|---|---|"]
        lines += _rows(server, names.split())
    return "\n".join(lines) + "\n"


def _rows(server: str, names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"| `{name}` | {_advice(server, name)} |"


def _advice(server: str, name: str) -> str:
    """What a row says of an option. Raises KeyError if the tables do not know it."""
    if name in _NAMED:
        return _NAMED[name]
    if name in NOT_READ:
        return re.sub(r"--([a-z-]+)", r"`\1`", NOT_READ[name])
    flag = "--" + name.replace("_", "-")
    flag = OWN_NAMES.get(server, {}).get(flag, flag)
    if flag in FLAGS:
        return f"`{FLAGS[flag].name}`"
    entry = BY_NAME[flag]
    advice = "; ".join(part for part in (entry.ours, entry.why) if part)
    return re.sub(r"--([a-z-]+)( [A-Za-z]*[A-Z]+[:=A-Z]*)?", r"`\1`", advice)
