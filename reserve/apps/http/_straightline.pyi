# The straight line in C: see straightline.py.

from reserve.apps.http.straightline import LineSettings
from reserve.engine.connections.connection import Connection

class StraightLine:
    def __new__(cls, settings: LineSettings, /) -> StraightLine: ...
    def __call__(self, connection: Connection, now: float, /) -> float | int: ...
