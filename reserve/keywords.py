"""The options that the public classes take as keyword arguments, with their types, for type checkers and editors.

Made from the table in ``reserve/options/table.py`` by ``python -m reserve.options keywords > reserve/keywords.py``. A
class here is the type of ``**options`` (PEP 692, ``Unpack``); its keys may all be left out.
"""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = ["EngineOptions", "ServerOptions", "TLSOptions", "WSGIServerOptions"]


class EngineOptions(TypedDict, total=False):
    """What both servers take: the settings of the engine, except ``threads``."""

    request_timeout: float
    """How long a request may run before its response begins. Then the client gets a 503, and the request is
    interrupted; a second later its thread is given up. With --stream-bodies the 503 is sent when the request has ended
    or its thread is given up. 0: no limit. Unit: seconds. Default: ``0.0``.
    """
    slow_request: float
    """A request that runs longer than this is logged, once, with the stack of its thread, and goes on. 0: none is.
    Unit: seconds. Default: ``0.0``.
    """
    max_stuck: int
    """How many interrupted threads that do not return are replaced. With one more of them the server is unhealthy.
    Default: ``4``.
    """
    max_upgraded: int
    """How many threads may each serve one connection that its application has taken over, as for WebSocket, in addition
    to --threads. Beyond it such a request gets a 503. 0: no connection can be taken over. Default: ``1000``.
    """
    max_waiting: int
    """How many requests that only wait, as event streams and long polls do, need not count as --threads, when they say
    so with reserve.waiting. Each has a thread of its own. 0: all count. Default: ``256``.
    """
    file_threads: int
    """How many threads may wait for disks, to send files that are not in the page cache. They start when they are
    needed. Default: ``4``.
    """
    handshake_timeout: float
    """How long a TLS handshake may take, from the start of the connection; with proxy-protocol also how long the header
    before it may take, with TLS or without. Unit: seconds. Default: ``5.0``.
    """
    tls_check: float
    """While clients connect, the server checks the files of the certificates this often, and loads them again when they
    have changed; 0: never. Unit: seconds. Default: ``10.0``.
    """
    trusted_proxies: str
    """Frontends whose word about their clients is believed: addresses, networks (192.0.2.0/24), and unix for every peer
    on a UNIX socket, with commas between them. See proxy-protocol and forwarded-fields. Unit: a list. Default: ``''``.
    """
    proxy_protocol: Literal["off", "v1", "v2", "any"]
    """Every connection begins with a header of the PROXY protocol, of this version, from one of trusted-proxies; others
    are closed. It names the client. Default: ``'off'``.
    """
    handler_timeout: float
    """The timeout that the socket of a plain handler has at first. Unit: seconds. Default: ``60.0``."""
    idle_timeout: float
    """How long the connection of a plain handler may be parked without any traffic, if its Park has no timeout; then it
    is closed. 0: no limit. Unit: seconds. Default: ``3600.0``.
    """
    write_timeout: float
    """How long a peer may read nothing of a response before its connection is reset. Unit: seconds. Default: ``30.0``.
    """
    write_rate: int
    """The average rate at which a peer must read a response, after write-timeout, and as much again for each MiB that
    the response holds in a file; 0: no minimum. Unit: bytes a second. Default: ``500``.
    """
    buffer_memory: int
    """How much memory the bodies, responses and heads of all connections may use together. Beyond it, files are used;
    then requests are refused (503, 507). Unit: bytes. Default: ``268435456``.
    """
    spool_disk: int
    """How much disk space the bodies and responses of all connections may use together. A quarter of it belongs to the
    bodies alone, and a quarter to the responses; one response may use a quarter of what the others leave. Unit: bytes.
    Default: ``4294967296``.
    """
    linger_timeout: float
    """How long a closing connection waits until its client has read the last response. Unit: seconds. Default: ``2.0``.
    """
    linger_bytes: int
    """How many bytes a closing connection still reads. It leaves any more unread, and is not reset before
    linger-timeout is over. Unit: bytes. Default: ``65536``.
    """
    max_lingering: int
    """How many connections may linger at the same time; beyond it the oldest ones are closed. Default: ``1000``."""
    max_connections: int
    """How many connections may be open; at the limit idle ones are closed, new ones wait. Default: ``20000``."""
    max_connections_per_client: int
    """How many connections one client address may have open (of IPv6: the first 64 bits); more are closed at once.
    trusted-proxies are not counted. 0: no limit. Default: ``0``.
    """
    max_running_per_client: int
    """How many requests of one client address may run or wait for a worker, behind trusted-proxies the address that
    they tell. As many more wait, at most for queue-timeout; the others are refused (429). 0: no limit. Default: ``0``.
    """
    unlimited_clients: str
    """Clients without the two limits before: addresses, networks (192.0.2.0/24), and unix for those without an address,
    with commas between them. Unit: a list. Default: ``''``.
    """
    max_queued: int
    """How many complete requests may wait for a worker; beyond it requests are refused (503). Default: ``1024``."""
    queue_timeout: float
    """How long a complete request may wait for a worker before it is refused (503). Unit: seconds. Default: ``30.0``.
    """
    max_output: int
    """How many bytes server.send may queue on one parked connection. Unit: bytes. Default: ``1048576``."""
    stop_timeout: float
    """How long a shutdown waits for requests in flight, and for threads. Unit: seconds. Default: ``30.0``."""
    drain_delay: float
    """How long a server that is asked to stop serves on as usual, while health-path gets a 503, so that load balancers
    send no more clients. A second signal skips it. Unit: seconds. Default: ``0.0``.
    """
    exit_idle: float
    """Stop when no connection has been open for this long; 0: never. Only with sockets that systemd has opened: it
    starts the service again for the next connection. Unit: seconds. Default: ``0.0``.
    """


class ServerOptions(EngineOptions, total=False):
    """What :class:`reserve.Server` takes."""

    threads: int | tuple[int, int]
    """Worker threads: how many handlers run at the same time. With MIN:MAX the pool grows while requests wait, and
    shrinks when workers are idle. Default: ``16``.
    """


class WSGIServerOptions(EngineOptions, total=False):
    """What :class:`reserve.ReserveWSGIServer` takes: the settings of the engine, of HTTP and its limits."""

    head_timeout: float
    """How long a request head may take from its first byte to its last. Unit: seconds. Default: ``10.0``."""
    body_timeout: float
    """How long a request body may take, whatever its rate; after that it must arrive at body-rate. Unit: seconds.
    Default: ``20.0``.
    """
    body_rate: int
    """The average rate at which a request body must arrive, after body-timeout; 0: no minimum, and body-timeout is the
    limit for the whole body. Unit: bytes a second. Default: ``500``.
    """
    keep_alive: float
    """How long an idle connection waits for a request; 0: it is closed after each response. Unit: seconds. Default:
    ``15.0``.
    """
    body_memory: int
    """How much of a request body is kept in memory; the rest goes to a file. Unit: bytes. Default: ``65536``."""
    spool_dir: str | None
    """The directory for files with bodies and responses. Default: the system's directory for temporary files. Unit: a
    path.
    """
    response_memory: int
    """How much of a response may wait in memory for its client; the rest goes to a file. Unit: bytes. Default:
    ``262144``.
    """
    max_response_spool: int
    """How much of a response may wait in a file for its client; beyond it the application waits. See also spool-disk.
    Unit: bytes. Default: ``67108864``.
    """
    stream_bodies: bool
    """Run the application as soon as the head is complete; it reads the body as it arrives. Default: ``False``."""
    expect: Literal["server", "app"]
    """When 100 (Continue) is sent to a client that expects it: server, before the application runs; app, when the
    application first reads the body. Default: ``'server'``.
    """
    underscores: Literal["drop", "refuse"]
    """What happens to a header field with an underscore in its name: drop the field, or refuse the request (400).
    Default: ``'drop'``.
    """
    encoded_slashes: Literal["decode", "keep"]
    """What an application gets for %2F in a path: decode, a slash, which nothing tells from the others; keep, %2F, as
    from cheroot and CherryPy's server. Default: ``'decode'``.
    """
    health_path: str
    """A path to which the server itself responds, even while every worker is busy: 200, or 503 when the server is
    unhealthy; with Accept: application/json or ?json it says why. Unit: a path. Default: ``''``.
    """
    live_path: str
    """Likewise for a check whether the process has to be started again (Kubernetes: liveness): 503 only if nothing else
    helps. Unit: a path. Default: ``''``.
    """
    ready_path: str
    """The same at another path, for a check whether clients are to be sent to the server (Kubernetes: readiness). Unit:
    a path. Default: ``''``.
    """
    metrics_path: str
    """A path at which the server itself has the metrics of all its processes for Prometheus, even while every worker is
    busy. Unit: a path. Default: ``''``.
    """
    metrics_allow: str
    """Which clients may read the metrics there: any, or loopback, private (networks), addresses, networks
    (192.0.2.0/24), and unix for those without an address, with commas between them. Behind trusted-proxies it is the
    address that they tell. Unit: a list. Default: ``'loopback,private'``.
    """
    status_path: str
    """Show a page at this path with what all processes and threads do at this moment, also while every worker is busy;
    with ?json the same as JSON. Unit: a path. Default: ``''``.
    """
    status_allow: str
    """Which clients may see the status page: any, or loopback, private (networks), addresses, networks (192.0.2.0/24),
    and unix for those without an address, with commas between them. Behind trusted-proxies it is the address that they
    tell. Unit: a list. Default: ``'loopback'``.
    """
    forwarded_fields: str
    """The header fields about clients that the trusted-proxies set: forwarded alone, or some of x-forwarded-for,
    -proto, -host, -port and -prefix, with commas between them. With trusted-proxies, all others of these six are
    removed from every request, and all six from requests of others. Unit: names of header fields. Default:
    ``'x-forwarded-for,x-forwarded-proto'``.
    """
    access_log: bool
    """Write one line for each request to the access log. Default: ``False``."""
    access_log_format: str
    """What a line says: common, combined or json, or a pattern with atoms, as '%(h)s "%(r)s" %(s)s %(queue)s'. See
    reserve/docs/logs.md. Unit: a format. Default: ``'combined'``.
    """
    access_log_file: str
    """Where lines go: - is standard output; a path, opened for append, and again after SIGUSR1; syslog: (the local
    one), syslog:HOST:PORT (UDP), syslog:/PATH; logger:NAME, a logger of the application. Unit: a destination. Default:
    ``'-'``.
    """
    access_log_skip: tuple[str, ...]
    """Requests for this path have no line in the access log (repeatable). With * at its end: for every path that begins
    so. Unit: a path. Default: ``()``.
    """
    request_id: Literal["off", "environ", "response"]
    """Give each request an ID, X-Request-ID of trusted-proxies or a new one: environ, for the application, as
    reserve.request_id; response, also in the field X-Request-ID of the response. off: only if a log shows it. Default:
    ``'off'``.
    """
    server_timing: bool
    """Send the field Server-Timing with each response of the application: how long it waited for a worker, and how long
    the application took until the head was sent. Default: ``False``.
    """
    server_header: str
    """The Server field of every response; empty: none. Default: ``'reserve'``."""
    ws_max_message: int
    """The size of a WebSocket message from a client, after it is decompressed. Unit: bytes. Default: ``1048576``."""
    ws_ping: float
    """How long a WebSocket connection may be silent before the server sends a ping. 0: it sends none. Unit: seconds.
    Default: ``20.0``.
    """
    ws_pong_timeout: float
    """How long the client may take to send anything after a ping; then it is disconnected. Unit: seconds. Default:
    ``20.0``.
    """
    ws_close_timeout: float
    """How long the client may take for its close frame after the server's. Unit: seconds. Default: ``10.0``."""
    ws_compression: bool
    """Compress WebSocket messages for clients that offer permessage-deflate. Default: ``True``."""
    ws_origins: str
    """Which pages may open a WebSocket: same, those of the same host; any; or the origins themselves, with commas
    between them. Clients without Origin, which are no browsers, always may. Default: ``'same'``.
    """
    static: tuple[str, ...]
    """Serve the files of this directory below this path (repeatable), without a worker. The longest prefix wins, also
    against --mount. Unit: a path and a directory. Default: ``()``.
    """
    static_missing: Literal["404", "app"]
    """Who responds when there is no such file: 404, the server; app, the application. Default: ``'404'``."""
    static_listing: bool
    """List the files of a directory without index.html. Default: ``False``."""
    static_immutable: bool
    """Send Cache-Control: a year for names with a hash (app.3f2a9c1b.js), no-cache for all other files. Default:
    ``True``.
    """
    debug: bool
    """Show the traceback of an exception of the application, in place of the plain 500, to clients on this machine:
    peer, Host, and client behind trusted-proxies are loopback. Default: ``False``.
    """
    root_path: str
    """The SCRIPT_NAME below which everything is mounted. Unit: a path. Default: ``''``."""
    max_request_line: int
    """The length of the request line with its CRLF; a longer one gets a 414. Unit: bytes. Default: ``16384``."""
    max_field: int
    """The length of a header field line with its CRLF; a longer one gets a 431. Unit: bytes. Default: ``16384``."""
    max_head: int
    """The length of the whole head, line ends included; a longer one gets a 431. Unit: bytes. Default: ``65536``."""
    max_fields: int
    """The number of field lines in a head; with more the request gets a 431. Default: ``128``."""
    max_chunk_line: int
    """The length of a chunk-size line with its extensions and CRLF; a longer one gets a 400. Unit: bytes. Default:
    ``4096``.
    """
    max_chunk_extensions: int
    """The length of all chunk extensions of a body together; more than that gets a 400. Unit: bytes. Default:
    ``65536``.
    """
    max_chunk_overhead: int
    """The bytes of framing in a chunked body for each byte of content, beyond 64k; with more it gets a 400. Default:
    ``16``.
    """
    max_trailer: int
    """The length of the whole trailer section, line ends included; a longer one gets a 431. Unit: bytes. Default:
    ``16384``.
    """
    max_trailer_fields: int
    """The number of trailer field lines; with more the request gets a 431. Default: ``64``."""
    max_body: int
    """The length of the content of a request, with any framing; a longer one gets a 413. Unit: bytes. Default:
    ``1073741824``.
    """


class TLSOptions(TypedDict, total=False):
    """What :class:`reserve.ssl.BuiltinSSLAdapter` and :class:`reserve.ssl.PyOpenSSLAdapter` take."""

    min_version: Literal["1.2", "1.3"]
    """The oldest version of TLS that the server accepts. Default: ``'1.2'``."""
    ciphers: str
    """The ciphers that TLS 1.2 may use. All ciphers of TLS 1.3 are allowed. Default: ``'ECDHE+AESGCM:ECDHE+CHACHA20'``.
    """
    client_cert: Literal["none", "optional", "required"]
    """Whether the server asks clients for a certificate, and accepts clients without one. A certificate that cannot be
    verified ends the handshake. Default: ``'none'``.
    """
    client_ca: str
    """The authorities (PEM) that have to sign the certificates of clients. Unit: a path. Default: ``''``."""
    crl: str
    """The list of the clients' certificates that their authority has revoked (PEM). Unit: a path. Default: ``''``."""
    protocols: tuple[str, ...] | None
    """The protocols that are offered for ALPN. Default: those of the application."""
