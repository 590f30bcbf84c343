"""Field lines: their grammar, the environ keys of their names, and the bounded cache of these keys."""

from __future__ import annotations

import pytest

from reserve.protocol.http1 import fields
from reserve.protocol.http1.fields import ENVIRON_KEYS
from tests.protocol.http1.delivery import get, head_of


@pytest.mark.parametrize(
    "lines",
    [
        "X-A : b", "X-A\t: b", ": b", "X A: b", "X-A b", "X\x01A: b", "X\x7fA: b", "X/A: b", "X@A: b", "X\xe9: b",
        "X-A: b\0c", "X-A: b\rX-B: c", "X-A: b\x1b", "X-A: b\x7f", "X-A: \x0bv", "X-A: b\r\n c", "X-A: b\r\n\tc",
        "X-A: b\r\n \r\nX-B: c", "X-A: b\r", "X-A:\n\nGET / HTTP/1.1", "X-A: b\nX-B: c", "Host", "\0X: y", "X:\r\r",
        "Content-Type: a/b\r\nContent-Type: a/b", "Host: a.test", "Authorization: a\r\nauthorization: b",
    ],
)  # fmt: skip
def test_invalid_field_lines_are_refused(lines: str) -> None:
    assert get(lines) == {"status": 400}
    assert head_of("GET / HTTP/1.1", *lines.split("\r\n"), "Host: a.test") == {"status": 400}


def test_a_first_field_line_that_begins_with_a_space_is_refused() -> None:
    assert head_of("GET / HTTP/1.1", " X: y", "Host: a") == {"status": 400}


def test_bytes_that_names_and_values_may_have() -> None:
    assert get("X-A: \x80\xa0\xff\t~ ")["environ"]["HTTP_X_A"] == "\x80\xa0\xff\t~"
    assert get("A!#$%&'*+-.^`|~9: b")["environ"]["HTTP_A!#$%&'*+_.^`|~9"] == "b"


def test_the_cache_of_environ_keys_is_bounded() -> None:
    for number in range(fields.MOST_CACHED * 2):
        assert ENVIRON_KEYS[f"X-{number}"] == f"HTTP_X_{number}"
    assert len(ENVIRON_KEYS) <= fields.MOST_CACHED
    long = "X" * (fields.LONGEST_CACHED + 1)
    assert ENVIRON_KEYS[long] == "HTTP_" + long
    assert long not in ENVIRON_KEYS
    assert ENVIRON_KEYS["host"] == "HTTP_HOST"


@pytest.mark.parametrize("name", ["", "X Y", "X ", " X", "X\t", "X\xe9", "X(", "X\n"])
def test_what_is_no_name_of_a_field_has_no_key(name: str) -> None:
    with pytest.raises(KeyError):
        ENVIRON_KEYS[name]
    assert name not in ENVIRON_KEYS


def test_fields_that_decide_something_are_singletons() -> None:
    assert {"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_RANGE"} <= fields.SINGLETONS
