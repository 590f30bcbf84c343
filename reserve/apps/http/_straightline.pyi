# The straight line in C: see straightline.py.

from collections import deque
from collections.abc import Callable
from typing import Any

from reserve.apps.http.accesslog import AccessLog
from reserve.apps.http.context import HTTPContext
from reserve.engine.connections.connection import Connection
from reserve.engine.connections.context import ServerContext
from reserve.engine.metrics.requests import Tally
from reserve.gateways.exchange import WSGIApplication
from reserve.gateways.streams import ErrorStream
from reserve.gateways.wsgi import WSGIGateway

class StraightLine:
    def __new__(
        cls,
        *,
        context: HTTPContext,
        server: ServerContext[Connection],
        now: Callable[[], float],
        tallies: dict[int, Tally],
        gateway: WSGIGateway,
        app: WSGIApplication,
        errors: ErrorStream,
        log: AccessLog | None,
        records: deque[Any] | None,
        most_records: int,
        longest: int,
        special: Callable[[dict[str, Any]], bool] | None,
        paths: frozenset[str] | None,
        server_line: bytes,
        keep_alive: float,
        largest: int,
        most_fields: int,
        refuse_underscores: bool,
        streams: bool,
        has_ids: bool,
        shows_ids: bool,
    ) -> StraightLine: ...
    def __call__(self, connection: Connection, now: float, /) -> float | int: ...
