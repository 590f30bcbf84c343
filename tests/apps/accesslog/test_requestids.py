"""Request IDs, and what fields say about the way of a request."""

from __future__ import annotations

import base64
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.apps._accesslog.collect import details_of
from reserve.apps._accesslog.formats import compile_format
from reserve.apps._accesslog.requestids import RequestIds, basic_user, request_start, valid_traceparent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_ids_are_different_also_between_two_makers() -> None:
    one, two = RequestIds(), RequestIds()
    made = [ids.of({}, from_proxy=False) for ids in (one, two) for _ in range(1000)]
    assert len(set(made)) == 2000
    assert all(len(text) < 30 and text.isascii() for text in islice(made, 10))


@pytest.mark.parametrize("given", ["abc", "a" * 128, "7d0f-1:2/3+4=", "Root=1-67891233-abcdef012345678912345678"])
def test_the_id_of_a_trusted_frontend_counts(given: str) -> None:
    assert RequestIds().of({"HTTP_X_REQUEST_ID": given}, from_proxy=True) == given
    assert RequestIds().of({"HTTP_X_REQUEST_ID": given}, from_proxy=False) != given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"', "a\r\nb", "\xe9", "a\x00"])
def test_an_id_that_is_too_long_or_has_other_characters_is_replaced(given: str) -> None:
    made = RequestIds().of({"HTTP_X_REQUEST_ID": given}, from_proxy=True)
    assert made
    assert made != given


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("t=1700000000.123", 1700000000.123),  # nginx: "t=${msec}"
        ("1700000000.123", 1700000000.123),
        ("1700000000123", 1700000000.123),  # Heroku
        ("t=1700000000123", 1700000000.123),
        ("t=1700000000123456", 1700000000.123456),  # Apache: "%t"
        ("1700000000123456", 1700000000.123456),
        (" t=1700000000 ", 1700000000.0),
        ("", None),
        ("t=", None),
        ("soon", None),
        ("t=1e9", None),
        ("t=-1700000000", None),
        ("1" * 30, None),
        ("t=1700000000.123, t=1", None),
    ],
)
def test_the_start_of_a_request_in_seconds_milliseconds_and_microseconds(text: str, seconds: float | None) -> None:
    assert request_start(text) == (None if seconds is None else pytest.approx(seconds, abs=1e-6))


@pytest.mark.parametrize("text", ["", "x", TRACE.upper(), TRACE[:-1], TRACE + "\n", TRACE + "-x"])
def test_only_a_valid_traceparent_counts(text: str) -> None:
    assert valid_traceparent(TRACE) == TRACE
    assert valid_traceparent(text) == ""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("Basic " + base64.b64encode(b"kim:secret").decode(), "kim"),
        ("basic  " + base64.b64encode("k\u00efm:s:t".encode()).decode(), "k\u00efm"),
        ("Basic " + base64.b64encode(b"\xff:x").decode(), "\ufffd"),
        ("Basic " + base64.b64encode(b"a" * 1024 + b":x").decode(), "a" * 1024),
        ("Basic " + base64.b64encode(b"a" * 1025 + b":x").decode(), "a" * 1024 + "..."),
        ("Basic " + base64.b64encode("\U0001d516".encode() * 1024 + b":x").decode(), "\U0001d516" * 1024),
        ("Basic " + base64.b64encode("\U0001d516".encode() * 1025 + b":x").decode(), "\U0001d516" * 1024 + "..."),
        ("Basic " + base64.b64encode(b"kim:" + b"s" * 7000).decode(), "kim"),  # a token in place of a password
        ("Basic ???", ""),
        ("Basic a", ""),
        ("Bearer abc", ""),
        ("", ""),
    ],
)
def test_the_user_of_basic_authentication_without_the_password(text: str, user: str) -> None:
    assert basic_user(text) == user
    head: Any = SimpleNamespace(environ={"HTTP_AUTHORIZATION": text}, from_proxy=False)
    assert details_of(compile_format("%(u)s").needs, head, {}, 0.0).user == user
