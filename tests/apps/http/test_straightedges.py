"""The straight line with applications that do what none should: call it from elsewhere, later, and inside of itself."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from reserve.apps.http import straightforms
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.connections.straightline import DECLINED, MORE
from reserve.errors import ApplicationError
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.host import check_host
from reserve.protocol.http1.responsefields import CACHED_LINES, CACHED_STATUS
from tests.apps.http.doubles import hello
from tests.apps.http.responses import request
from tests.apps.http.straightbuild import ROOT
from tests.apps.http.straightclient import StraightClient


@pytest.fixture(autouse=True)
def _host_is_known() -> None:
    """The form in C leaves the first request with a host to Python, which checks it."""
    check_host("test")


compiled = pytest.mark.skipif(not straightforms.is_compiled(), reason="the form in C is not compiled")


class Ending:
    """A cycle that calls start_response when it is collected."""

    def __init__(self, start: Any) -> None:
        self.start = start
        self.cycle = self

    def __del__(self) -> None:
        with contextlib.suppress(ApplicationError):  # called twice
            self.start("201 Created", [("X-Garbage", "1")])


def test_a_start_response_inside_of_start_response_does_not_mix_with_it(straight_line_form: str) -> None:
    failures: list[str] = []

    def app(environ: Any, start: Any) -> Any:
        threshold = gc.get_threshold()
        fields = [("X-First", "1"), ("X-Second", "2")]
        gc.collect()
        lists: list[Any] = [[] for _ in range(200)]  # so that the interpreter has no list left that it can use again
        Ending(start)
        # The garbage is collected a few objects later: once inside start_response, which copies the list.
        gc.set_threshold(gc.get_count()[0] + int(environ["QUERY_STRING"]))
        try:
            start("200 OK", fields)
        except ApplicationError as error:
            failures.append(str(error))
        finally:
            gc.set_threshold(*threshold)
        lists.clear()
        return [b"x"]

    gc.collect()
    client = StraightClient(app, straight_line_form)
    for number in range(12):
        received = client.send(request("GET", f"/?{number}"))
        assert received.count(b"HTTP/1.1 ") == 1
        assert (b"X-Garbage" in received) != (b"X-Second" in received)
    assert all("called twice" in failure for failure in failures)
    client.close()


def test_write_after_the_response_is_sent_is_told_so_before_it_is_logged(straight_line_form: str) -> None:
    kept: list[Any] = []
    failures: list[str] = []

    def app(environ: Any, start: Any) -> Any:
        kept[:] = [start("200 OK", []), start]
        return [b"x"]

    def late(record: Any = None) -> None:
        for call in (lambda: kept[0](b"late"), lambda: kept[1]("500 Late", [])):
            with pytest.raises(ApplicationError) as caught:
                call()
            failures.append(str(caught.value))

    client = StraightClient(app, straight_line_form)
    log: Any = client.http.access_log
    log.asleep, log.wake, log.put = True, late, late
    received = client.send(request())
    assert client.straight == 1
    assert received.endswith(b"\r\n\r\nx")
    assert received.count(b"HTTP/1.1 ") == 1
    assert len(failures) == 2
    client.close()


@compiled
def test_write_while_the_end_of_the_head_is_made_takes_the_response_over(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []

    def app(environ: Any, start: Any) -> Any:
        kept.append(start("200 OK", []))
        return [b"x"]

    client = StraightClient(app, "C")
    date_line = client.http.date_line

    def write_first() -> bytes:
        while kept:
            kept.pop()(b"from another thread ")
        return date_line()

    monkeypatch.setattr(client.http, "date_line", write_first)
    received = client.send(request())
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"from another thread " in received
    client.close()


class Text(str):
    """What has other characters than its methods say."""

    __slots__ = ()

    def __str__(self) -> str:
        return "wrong\r\nX-Wrong: 1"

    __format__ = lambda self, spec: str(self)  # noqa: E731
    lower = upper = strip = __str__

    def __int__(self) -> int:
        return 1


def test_the_characters_of_a_subclass_of_str_are_sent_and_cached(straight_line_form: str) -> None:
    CACHED_LINES.clear()
    CACHED_STATUS.clear()
    kinds = [Text, str]

    def app(environ: Any, start: Any) -> Any:
        kind = kinds.pop(0)
        start(kind("200 Odd"), [(kind("X-A"), kind("b")), (kind("Content-Length"), kind("5"))])
        return [b"hello"]

    client = StraightClient(app, straight_line_form)
    for _ in range(2):
        received = client.send(request())
        assert received.startswith(b"HTTP/1.1 200 Odd\r\nX-A: b\r\n")
        assert b"\r\nContent-Length: 5\r\n" in received
        assert b"rong" not in received
    client.close()


@pytest.mark.parametrize("size", [400, 480, 600, 5000])
def test_a_long_server_header_is_sent(straight_line_form: str, size: int) -> None:
    client = StraightClient(hello, straight_line_form, HTTPSettings(server_header="x" * size))
    for _ in range(2):
        received = client.send(request())
        assert b"\r\nServer: " + b"x" * size + b"\r\n" in received
        assert received.endswith(b"\r\n\r\nhello ")
    client.close()


def test_all_that_ask_for_the_head_get_the_same_one(straight_line_form: str) -> None:
    heads: list[Any] = []

    def app(environ: Any, start: Any) -> Any:
        response = getattr(start, "__self__", start)  # in Python, start is a method of it

        def ask_again(frame: Any, event: str, argument: Any) -> None:  # as another thread may, in the middle of it
            if event == "call":  # of what makes the head
                sys.setprofile(None)
                heads.append(response.head)

        sys.setprofile(ask_again)
        head = response.head
        sys.setprofile(None)
        heads.extend([head, response.head])
        return hello(environ, start)

    client = StraightClient(app, straight_line_form)
    client.send(request())
    assert len(heads) >= 2
    assert {id(head) for head in heads} == {id(heads[0])}
    assert heads[0].environ["REQUEST_METHOD"] == "GET"
    client.close()


def test_an_empty_line_behind_a_head_is_not_given_to_a_parser_of_its_own(straight_line_form: str) -> None:
    blocks: list[bytes] = []

    def parser(block: bytes, *args: Any, **keywords: Any) -> Any:
        blocks.append(block)
        return parse_head(block, *args, **keywords)

    client = StraightClient(hello, straight_line_form)
    client.driver.parse_head = parser
    assert client.send(request() + b"\r\n").endswith(b"hello ")
    assert client.outcomes == [MORE, DECLINED]
    assert blocks == [request()]
    client.close()


def test_more_statuses_than_are_usual_are_counted(straight_line_form: str) -> None:
    codes = iter(range(200, 300))

    def app(environ: Any, start: Any) -> Any:
        start(f"{next(codes)} Odd", [])
        return [b""]

    client = StraightClient(app, straight_line_form)
    for _ in range(100):
        client.send(request())
    assert client.straight == 98  # 204 and 205 are not ordinary
    stats = client.server.request_metrics.read()
    assert {status for _, status, _ in stats.responses} == set(range(200, 300))
    assert sum(count for _, _, count in stats.responses) == 100
    client.close()


def test_threads_that_call_start_response_at_the_same_time_make_one_response(straight_line_form: str) -> None:
    failures: list[BaseException] = []

    def app(environ: Any, start: Any) -> Any:
        def call(number: int) -> None:
            try:
                start("200 OK", [("X-Number", str(number))] * 20)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [b"x"]

    client = StraightClient(app, straight_line_form)
    for _ in range(20):
        received = client.send(request())
        assert received.count(b"HTTP/1.1 ") == 1
        assert len({line for line in received.split(b"\r\n") if line.startswith(b"X-Number")}) == 1
    assert len(failures) == 60
    client.close()


PROGRAM = """
import gc, sys
from reserve.protocol.http1.host import CACHED_HOSTS
CACHED_HOSTS.add("test")
from tests.apps.http.straightload import Load, ordinary, generating
kinds = [(b"GET / HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n", app) for app in (ordinary, generating)]
load = Load()
load.run(0, kinds)
assert load.straight == 1

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
for _ in range(3):
    other = interpreters.create()
    failure = interpreters.run_string(
        other,
        "import sys; sys.path.insert(0, '.')\\n"
        "from reserve.apps.http import _straightline; assert _straightline.StraightLine",
    )
    assert failure is None, failure
    interpreters.destroy(other)
load.run(0, kinds)
assert load.straight == 2

from reserve.apps.http import _straightline as first
del sys.modules["reserve.apps.http._straightline"]
del sys.modules["reserve.apps.http"]._straightline
from reserve.apps.http import _straightline
assert _straightline is not first
load.run(0, kinds)
del first
gc.collect()
load.run(0, kinds)
assert load.straight == 4
print("passed")
"""


@compiled
def test_other_interpreters_and_a_second_import_have_a_module_of_their_own() -> None:
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (process.returncode, process.stdout) == (0, "passed\n"), process.stderr
