"""``wsgi.early_hints``: a 103 (Early Hints) before the response, and whom it is not sent to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.errors import ApplicationError
from reserve.protocol.http1.response import early_hints
from reserve.testing import MemoryClient
from tests.apps.http.doubles import STREAM
from tests.apps.http.responses import only, receive, request
from tests.clients import until_closed
from tests.overload.site import received_nothing, serving
from tests.waiting import PATIENCE, eventually

LINK = ("Link", "</style.css>; rel=preload; as=style")
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"


class Hinting:
    """Calls ``use(environ, start_response)``, and responds. What ``use`` raises is in :attr:`errors`."""

    def __init__(self, use: Callable[[Any, Any], Any]) -> None:
        self._use = use
        self.errors: list[BaseException] = []

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        try:
            self._use(environ, start_response)
        except Exception as error:
            self.errors.append(error)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]


def hint(environ: Any, start_response: Any) -> None:
    environ["wsgi.early_hints"]([LINK])


# ---- the bytes ----


def test_a_103_has_the_fields_of_the_application_and_no_others() -> None:
    assert early_hints([LINK]) == HINTS
    assert early_hints(iter([LINK, ("X-A", "1")])) == HINTS[:-2] + b"X-A: 1\r\n\r\n"
    assert early_hints([]) == b""


def test_fields_about_a_body_or_the_connection_are_not_in_a_103() -> None:
    fields = [("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Keep-Alive", "1")]
    assert early_hints([*fields, LINK]) == HINTS
    assert early_hints(fields) == b""


@pytest.mark.parametrize(
    "item", [("Link", "a\r\nSet-Cookie: b"), ("Li nk", "a"), ("Link", b"a"), ["Link", "a"], "Link", ("Link", "\u20ac")]
)
def test_a_field_that_a_response_cannot_have_is_refused(item: Any) -> None:
    with pytest.raises(ApplicationError, match="response header"):
        early_hints([item])


# ---- in memory ----


def test_hints_leave_before_the_response() -> None:
    app = Hinting(hint)
    raw = MemoryClient(app).send(request())
    assert raw.startswith(HINTS + b"HTTP/1.1 200 OK\r\n")
    assert only(raw[len(HINTS) :]).body == b"served"
    assert not app.errors


def test_several_hints_leave_and_not_any_number() -> None:
    def use(environ: Any, start_response: Any) -> None:
        for _ in range(40):
            environ["wsgi.early_hints"]([LINK])

    client = MemoryClient(Hinting(use))
    for _ in range(2):  # each request of a connection has its own number
        raw = client.send(request())
        assert raw.startswith(HINTS * 16 + b"HTTP/1.1 200 OK\r\n")


def test_a_client_of_http_1_0_gets_none() -> None:
    app = Hinting(hint)
    assert MemoryClient(app).send(request(minor=0)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert not app.errors


def test_after_the_beginning_of_the_response_none_are_sent() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Length", "6")])
        environ["wsgi.early_hints"]([LINK])  # the head has not been sent
        write(b"ser")
        environ["wsgi.early_hints"]([LINK])
        return [b"ved"]

    raw = MemoryClient(app).send(request())
    assert raw.startswith(HINTS + b"HTTP/1.1 200 OK\r\n")
    assert only(raw[len(HINTS) :]).body == b"served"


def test_a_bad_field_is_an_error_in_the_application_which_may_still_respond() -> None:
    app = Hinting(lambda environ, start_response: environ["wsgi.early_hints"]([LINK, ("A", "b\n")]))
    assert MemoryClient(app).send(request()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert [type(error) for error in app.errors] == [ApplicationError]


def test_an_application_that_fails_after_its_hints_gets_a_500() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.early_hints"]([LINK])
        raise LookupError

    raw = MemoryClient(app).send(request())
    assert raw.startswith(HINTS + b"HTTP/1.1 500 ")


def test_the_100_of_expect_comes_before_the_application_runs() -> None:
    client = MemoryClient(Hinting(hint))
    head = request("POST", "/", "Content-Length: 2", "Expect: 100-continue")
    assert client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.send(b"ab").startswith(HINTS + b"HTTP/1.1 200 OK\r\n")


def test_with_expect_app_the_100_comes_when_the_body_is_read() -> None:
    def read(environ: Any, start_response: Any) -> None:
        hint(environ, start_response)
        assert environ["wsgi.input"].read() == b"ab"

    with serving(Hinting(read), http=HTTPSettings(access_log=False, expect="app")) as site:
        client = site.connect(request("POST", "/", "Content-Length: 2", "Expect: 100-continue"))
        expected = HINTS + b"HTTP/1.1 100 Continue\r\n\r\n"
        assert receive_exactly(client, len(expected)) == expected
        client.sendall(b"ab")
        assert receive(client).body == b"served"


def test_hints_wait_behind_what_the_client_has_not_read() -> None:
    client = MemoryClient(Hinting(hint))
    client.read(10)
    assert client.send(request()) == HINTS[:10]
    assert client.read(None).startswith(HINTS[10:] + b"HTTP/1.1 200 OK\r\n")


def test_another_thread_sends_none() -> None:
    def use(environ: Any, start_response: Any) -> None:
        thread = threading.Thread(target=environ["wsgi.early_hints"], args=([LINK],))
        thread.start()
        thread.join(PATIENCE)

    with serving(Hinting(use)) as site:
        raw = site.fetch()
        assert (raw.status, raw.body) == (200, b"served")


# ---- on sockets ----


def receive_exactly(client: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        assert more, data
        data += more
    return data


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("request_timeout", [0.0, 5.0])
def test_hints_arrive_while_the_application_goes_on(secure: bool, request_timeout: float) -> None:
    released = threading.Event()

    def use(environ: Any, start_response: Any) -> None:
        hint(environ, start_response)
        assert released.wait(PATIENCE)

    with serving(Hinting(use), secure=secure, request_timeout=request_timeout) as site:
        client = site.connect(request())
        assert receive_exactly(client, len(HINTS)) == HINTS
        assert received_nothing(client)
        client.settimeout(PATIENCE)
        released.set()
        assert receive(client).body == b"served"


@pytest.mark.parametrize("http", [None, STREAM], ids=["buffered", "streamed"])
def test_the_time_of_the_request_goes_on_after_hints_and_none_follow_the_refusal(http: Any) -> None:
    caught: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        hint(environ, start_response)
        entered.set()
        try:
            while True:
                pass
        except BaseException as error:
            caught.append(type(error).__name__)
        assert go_on.wait(PATIENCE)
        try:
            hint(environ, start_response)
        except BaseException as error:
            caught.append(type(error).__name__)
            raise
        return []

    options = {} if http is None else {"http": http}
    with serving(app, request_timeout=5.0, **options) as site:
        body = "" if http is None else "Content-Length: 1"
        client = site.connect(request("POST", "/", *[body] * bool(body)))
        assert receive_exactly(client, len(HINTS)) == HINTS
        assert entered.wait(PATIENCE)
        site.clock.advance(5)
        if http is None:
            head = receive_exactly(client, 12)
            assert head == b"HTTP/1.1 503"
        site.wait_for_stats(timed_out=1)
        go_on.set()
        raw, _ = until_closed(client)
        assert b"103" not in raw
        eventually(lambda: caught == ["RequestTimeout"] * 2)
