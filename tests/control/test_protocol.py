"""The lines of the control socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.control.commands import COMMANDS, LOOKING, check
from reserve.control.protocol import MAX_LINE, Lines, Refusal, Request, failure, parse_request, request_line, success

_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=5), st.integers(1, 9))
def test_lines_are_found_in_pieces_of_any_size(lines: list[bytes], size: int) -> None:
    data = b"".join(line + b"\n" for line in lines)
    reader, found = Lines(), []
    for start in range(0, len(data), size):
        reader.add(data[start : start + size])
        while (line := reader.next()) is not None:
            found.append(line)
    assert found == [line.removesuffix(b"\r") for line in lines]
    assert reader.size == 0


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_long_line_is_refused_with_its_end_and_without(end: bytes) -> None:
    reader = Lines(limit=10)
    reader.add(b"x" * 10 + end)
    if not end:
        assert reader.next() is None
        reader.add(b"x")
    with pytest.raises(Refusal, match="at most 10 bytes"):
        reader.next()


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_raises_nothing_else(line: bytes) -> None:
    refused = ""
    try:
        request = parse_request(line)
    except Refusal as refusal:
        refused = json.loads(failure(refusal))["error"]
    assert refused or isinstance(request.command, str)


@given(_JSON)
def test_any_json_is_a_request_or_refused(value: Any) -> None:
    try:
        request = check(parse_request(json.dumps(value).encode()), readonly=False)
    except Refusal:
        return
    assert request.command in COMMANDS


@given(st.sampled_from(sorted(COMMANDS)), st.dictionaries(st.text(max_size=8) | st.just("pid"), _JSON, max_size=3))
def test_arguments_are_checked_before_anything_is_done(command: str, arguments: dict[str, Any]) -> None:
    refused = ""
    try:
        request = check(Request(command, arguments), readonly=False)
    except Refusal as refusal:
        refused = str(refusal)
    assert refused or set(request.arguments) <= set(COMMANDS[command].arguments)


@pytest.mark.parametrize("line", [b"[" * 60000, b'{"id":' + b"[" * 5000, b"1" * 6000, b"\xff", b"null", b"{}"])
def test_hostile_lines_are_refused(line: bytes) -> None:
    with pytest.raises(Refusal):
        parse_request(line)


def test_a_request_survives_the_way() -> None:
    line = request_line("threads", {"min": 2, "max": 8}, 7)
    assert line.endswith(b"\n")
    assert len(line) < MAX_LINE
    assert parse_request(line[:-1]) == Request("threads", {"min": 2, "max": 8}, 7)
    assert json.loads(success(7, [1])) == {"id": 7, "ok": True, "result": [1]}


def test_a_long_id_does_not_come_back() -> None:
    with pytest.raises(Refusal, match="an id has at most"):
        parse_request(request_line("status", {}, "x" * 300))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "[NaN]"])
def test_an_id_that_is_no_json_does_not_come_back(number: str) -> None:
    with pytest.raises(Refusal, match="an id is JSON"):
        parse_request(f'{{"command": "status", "id": {number}}}'.encode())


def test_the_socket_for_looking_has_no_command_that_changes_anything() -> None:
    assert set(LOOKING) == {"version", "status", "stacks", "connections", "watch"}
    for name in set(COMMANDS) - set(LOOKING):
        with pytest.raises(Refusal, match="--control-readonly"):
            check(Request(name), readonly=True)


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("statsu", {}, "has no command 'statsu'"),
        ("status", {"pid": 1}, "has no argument 'pid'"),
        ("stacks", {"pid": "x"}, "a whole number"),
        ("stacks", {"pid": True}, "a whole number"),
        ("threads", {}, "needs max"),
        ("threads", {"min": 9, "max": 8}, "more than max, 8"),
        ("watch", {"interval": 0.01}, "seconds from 0.2"),
        ("log-level", {"level": []}, "one of debug"),
        ("stop", {"now": 1}, "true or false"),
    ],
)
def test_what_is_wrong_is_said(command: str, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal, match=text):
        check(Request(command, arguments), readonly=False)
