"""TransactionGuard: what a handler forgets to commit is rolled back, and said."""

from __future__ import annotations

import logging
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.desk.wsgicalls import ask
from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk.request import Request  # noqa: E402
from reserve.desk.response import Response  # noqa: E402
from reserve.desk.router import Router  # noqa: E402
from reserve.desk.transactionguard import TransactionGuard  # noqa: E402


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a)")
    yield connection
    connection.close()


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("select count(*) from t").fetchone()[0])


@pytest.fixture
def app(connection: sqlite3.Connection) -> Router:
    router = Router()

    @router.function("/forget")
    def forget() -> str:
        connection.execute("insert into t values (1)")
        return "saved, it says"

    @router.function("/commit")
    def commit() -> str:
        with connection:
            connection.execute("insert into t values (1)")
        return "saved"

    @router.function("/fail")
    def fail() -> str:
        connection.execute("insert into t values (1)")
        raise ValueError("on purpose")

    @router.function("/lazy")
    def lazy() -> Iterator[str]:
        yield "begin"
        connection.execute("insert into t values (1)")

    @router.function("/end")
    def end() -> Response:
        connection.close()
        return Response("bye", shut_down=True)

    return router


def request(uri: str) -> Request:
    return Request("GET", uri, "HTTP/1.1", {}, None)


@pytest.mark.parametrize("uri", ["/forget", "/lazy"])
def test_what_is_forgotten_is_rolled_back_and_logged(
    app: Router, connection: sqlite3.Connection, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard = TransactionGuard(app, connection)
    response = guard(request(uri))
    assert response.code == 500
    assert b"forgot to save" in response.body
    assert b"saved, it says" not in response.body
    assert count(connection) == 0
    assert not connection.in_transaction
    [record] = caplog.records
    assert (record.name, record.levelno) == ("reserve.desk", logging.ERROR)
    assert f"{__name__}.app.<locals>.{uri[1:]} (GET {uri})" in record.getMessage()


def test_what_is_committed_stays(app: Router, connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    response = TransactionGuard(app, connection)(request("/commit"))
    assert (response.code, response.body) == (200, b"saved")
    assert count(connection) == 1
    assert not caplog.records


def test_an_exception_rolls_back_and_goes_on(app: Router, connection: sqlite3.Connection) -> None:
    with pytest.raises(ValueError, match="on purpose"):
        TransactionGuard(app, connection)(request("/fail"))
    assert not connection.in_transaction
    assert count(connection) == 0


def test_the_end_of_the_program_rolls_back(connection: sqlite3.Connection) -> None:
    def end(request: Request) -> str:
        connection.execute("insert into t values (1)")
        raise SystemExit

    with pytest.raises(SystemExit):
        TransactionGuard(end, connection)(request("/"))
    assert not connection.in_transaction


def test_a_function_is_named_without_a_router(connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture) -> None:
    def page(request: Request) -> str:
        connection.execute("insert into t values (1)")
        return ""

    assert TransactionGuard(page, connection)(request("/x")).code == 500
    assert f"{__name__}.test_a_function_is_named_without_a_router.<locals>.page (GET /x)" in caplog.text


def test_what_was_open_before_is_not_the_fault_of_the_handler(
    app: Router, connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute("insert into t values (1)")
    guard = TransactionGuard(app, connection)
    response = guard(request("/commit"))
    assert response.code == 500
    assert b"open transaction before this request" in response.body
    assert "was open before GET /commit" in caplog.text
    assert count(connection) == 0
    assert guard(request("/commit")).code == 200


def test_a_handler_may_close_the_connection_at_the_end(app: Router, connection: sqlite3.Connection) -> None:
    response = TransactionGuard(app, connection)(request("/end"))
    assert response.shut_down
    assert response.body == b"bye"


def test_a_guard_is_a_wsgi_application(app: Router, connection: sqlite3.Connection) -> None:
    guard = TransactionGuard(app, connection)
    assert guard.single_thread
    assert ask(guard, uri="/commit").body == b"saved"
    assert ask(guard, uri="/forget").code == 500
    assert ask(guard, uri="/fail").code == 500
    assert ask(guard, uri="/nope").code == 404


@pytest.mark.parametrize("given", [None, "text", object()])
def test_a_connection_can_roll_back(given: Any) -> None:
    with pytest.raises(TypeError, match="rollback"):
        TransactionGuard(lambda request: "", given)


def test_a_handle_can_be_called(connection: sqlite3.Connection) -> None:
    with pytest.raises(TypeError, match="callable"):
        TransactionGuard("text", connection)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has autocommit from CPython 3.12 on")
def test_a_connection_that_is_always_in_a_transaction_is_refused() -> None:
    connection = sqlite3.connect(":memory:", autocommit=False)
    try:
        with pytest.raises(ValueError, match="autocommit=False"):
            TransactionGuard(lambda request: "", connection)
    finally:
        connection.close()
