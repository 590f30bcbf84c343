"""Runs a server of ``reserve.compat.cheroot`` as programs for cheroot do: ``start()`` on a thread of the program."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from typing import Any

from tests.waiting import PATIENCE, eventually


class Serving:
    """A server that serves while the ``with`` block runs, and what its thread raised.

    :param server: made by the test; ``safe_start()`` of it runs on a thread.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
        self.raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.server.safe_start()
        except BaseException as error:
            self.raised = error

    def __enter__(self) -> Serving:
        self._thread.start()
        eventually(lambda: self.server.ready or self.raised is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.join()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def client(self) -> http.client.HTTPConnection:
        """A client's connection, which the caller closes."""
        return http.client.HTTPConnection(*self.server.bind_addr, timeout=PATIENCE)

    def fetch(
        self, target: str = "/", *, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, fields and body of the response to a request on a connection of its own."""
        client = self.client()
        try:
            client.request(method, target, body, {**headers, "Connection": "close"})
            response = client.getresponse()
            return response.status, response.headers, response.read()
        finally:
            client.close()


def quiet(server: Any) -> list[str]:
    """Replace the error log of a server by the list that is returned."""
    lines: list[str] = []
    server.error_log = lambda msg="", level=20, traceback=False: lines.append(msg)
    return lines
