"""Requests in records: found however the input is split; what else may come on a connection, and what may not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.protocol.cgi.environ import most_variables
from reserve.protocol.fastcgi import scanner
from reserve.protocol.fastcgi.records import (
    ABORT_REQUEST,
    BEGIN_REQUEST,
    CANT_MPX_CONN,
    DATA,
    END_REQUEST,
    GET_VALUES,
    GET_VALUES_RESULT,
    PARAMS,
    REQUEST_COMPLETE,
    STDERR,
    STDIN,
    STDOUT,
    UNKNOWN_ROLE,
    UNKNOWN_TYPE,
)
from reserve.protocol.http1.limits import Limits
from tests.protocol.fastcgi.delivery import BASE, CODEC, LIMITS, Read, read, read_all
from tests.protocol.fastcgi.messages import VARIABLES, Record, begin, head, pairs, raw, request, stream
from tests.protocol.http1.delivery import deliver

BODY = bytes(range(256)) * 3
HEAD_FRAMING = "(at most 65536, or as many as its variables have)"


def test_requests_on_one_connection() -> None:
    result = read_all(request() + request(BODY, 2) + request(number=65535, keep=False))
    assert [(item.number, item.keep, item.content) for item in result.requests] == [
        (1, True, b""),
        (2, True, BODY),
        (65535, False, b""),
    ]
    assert (result.end, result.replies) == ("idle", [])
    environ = result.requests[1].environ
    assert environ["REQUEST_METHOD"] == "POST"
    assert environ["CONTENT_LENGTH"] == "768"
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("", "/a b", "c=d")
    assert environ["HTTP_HOST"] == "a.test"


def test_records_of_any_size_and_with_padding() -> None:
    for size in (1, 7, 300):
        for padding in (0, 1, 7, 255):
            data = (
                raw(BEGIN_REQUEST, 5, b"\0\1\1\0\0\0\0\0", padding=padding)
                + stream(PARAMS, pairs({**VARIABLES, "CONTENT_LENGTH": "40"}), 5, size=size, padding=padding)
                + stream(STDIN, BODY[:40], 5, size=size, padding=padding)
            )
            (item,) = read_all(data).requests if size > 1 else read([data]).requests
            assert (item.number, item.keep, item.content) == (5, True, BODY[:40])


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 255, 256, 5000])
def test_lengths_of_one_and_of_four_bytes(length: int) -> None:
    name = "X" * max(1, length)
    result = read_all(request(**{name: "v" * length, "HTTP_X_EMPTY": ""}))
    (item,) = result.requests
    assert item.environ.get(name, "") == "v" * length
    assert item.environ["HTTP_X_EMPTY"] == ""


def test_a_four_byte_length_may_be_small() -> None:
    params = pairs(VARIABLES) + b"\x80\0\0\1\x80\0\0\2" + b"Xyz"
    (item,) = read_all(begin() + stream(PARAMS, params) + stream(STDIN, b"")).requests
    assert item.environ["X"] == "yz"


@pytest.mark.parametrize("body", [None, b"", BODY])
def test_a_body_without_content_length_ends_with_stdin(body: bytes | None) -> None:
    result = read_all(head(REQUEST_METHOD="POST", CONTENT_LENGTH="") + stream(STDIN, body or b"", size=100))
    assert result.requests[0].content == (body or b"")
    assert "CONTENT_LENGTH" not in result.requests[0].environ


def test_the_end_of_stdin_says_that_no_body_follows() -> None:
    sent: list[bytes] = []
    reader = CODEC.make_reader(LIMITS, sent.append)
    assert reader.feed(head()) is None
    assert reader.started
    block = reader.feed(raw(STDIN))
    assert block is not None
    assert CODEC.parse_head(block, {"REMOTE_ADDR": ""}, LIMITS).length == 0


def test_a_head_with_content_length_does_not_wait_for_the_body() -> None:
    reader = CODEC.make_reader(LIMITS, lambda data: None)
    block = reader.feed(head(REQUEST_METHOD="POST", CONTENT_LENGTH="3"))
    assert block is not None
    assert CODEC.parse_head(block, {"REMOTE_ADDR": ""}, LIMITS).length is None


def test_what_is_buffered_can_be_counted_and_described() -> None:
    reader = CODEC.make_reader(LIMITS, lambda data: None)
    assert (reader.started, reader.buffered, reader.prefix) == (False, 0, b"")
    reader.feed(begin(7)[:3])
    assert (reader.started, reader.prefix) == (True, b"")
    reader.feed(begin(7)[3:] + raw(PARAMS, 7, pairs(VARIABLES)))
    assert reader.buffered == len(pairs(VARIABLES))
    described = CODEC.describe_refused(reader.prefix)
    assert (described.method, described.line) == ("GET", "GET /a%20b?c=d HTTP/1.1")


def test_a_decoder_says_what_is_missing_and_what_it_keeps() -> None:
    reader = CODEC.make_reader(LIMITS, lambda data: None)
    block = reader.feed(head(CONTENT_LENGTH="9"))
    assert block is not None
    decoder = CODEC.make_decoder(CODEC.parse_head(block, BASE, LIMITS), LIMITS, lambda data: None)
    steps = [
        (b"", 0, 0),
        (raw(STDIN, 1, b"abcdefghi")[:5], 0, 5),
        (raw(STDIN, 1, b"abcdefghi")[5:10], 7, 0),
        (b"cdefghi", 0, 0),
        (raw(GET_VALUES, 0, pairs([("FCGI_X", "")]))[:12], 0, 4),
        (raw(GET_VALUES, 0, pairs([("FCGI_X", "")]))[12:], 0, 0),
        (raw(STDIN, 7, b"late")[:10], 0, 0),
        (b"te" + raw(STDIN, 1, padding=3)[:-1], 0, 0),
    ]
    for data, missing, held in steps:
        decoder.feed(data)
        assert (decoder.missing, decoder.held, decoder.complete) == (missing, held, False)
    decoder.feed(b"x" + b"rest")
    assert (decoder.complete, decoder.rest, decoder.received) == (True, b"rest", 9)


# ---- what is no part of a request ----


@pytest.mark.parametrize("before", [b"", head(REQUEST_METHOD="POST", CONTENT_LENGTH="3"), begin()])
def test_get_values_gets_what_is_known(before: bytes) -> None:
    asked = pairs([("FCGI_MPXS_CONNS", ""), ("X", ""), ("FCGI_MAX_CONNS", ""), ("FCGI_MAX_REQS", ""), ("X", "")])
    result = read_all(before + raw(GET_VALUES, 0, asked, padding=3))
    content = pairs([("FCGI_MPXS_CONNS", "0"), ("FCGI_MAX_CONNS", "50"), ("FCGI_MAX_REQS", "50")])
    assert result.replies == [Record(GET_VALUES_RESULT, 0, content, -len(content) & 7)]
    assert result.end == ("idle" if not before else "body" if b"CONTENT_LENGTH" in before else "head")
    assert read_all(before + raw(GET_VALUES, 0)).replies == [Record(GET_VALUES_RESULT, 0, b"", 0)]


@pytest.mark.parametrize("kind", [0, 12, 255])
def test_an_unknown_management_record_gets_unknown_type(kind: int) -> None:
    if kind:
        result = read_all(raw(kind, 0, b"abc", padding=5) + request())
        assert result.replies == [Record(UNKNOWN_TYPE, 0, bytes([kind]) + bytes(7), 0)]
        assert len(result.requests) == 1
    else:
        assert read_all(raw(kind, 0)).end.startswith("400 ")


@pytest.mark.parametrize("role", [0, 2, 3, 256, 65535])
@pytest.mark.parametrize("keep", [True, False])
def test_another_role_is_refused(role: int, keep: bool) -> None:
    result = read_all(begin(9, keep=keep, role=role) + stream(PARAMS, b"", 9) + stream(STDIN, b"ab", 9) + request())
    assert result.replies == [Record(END_REQUEST, 9, bytes(4) + bytes([UNKNOWN_ROLE]) + bytes(3), 0)]
    if keep:
        assert (len(result.requests), result.end) == (1, "idle")
    else:
        assert result.requests == []
        assert result.end == f"501 the role {role} is not implemented, only that of responders, 1"


@pytest.mark.parametrize("cut", [16, 24, 60, 240, 250, 264])
def test_a_second_request_ends_with_cant_mpx_conn(cut: int) -> None:
    first = request(b"abc", 1)
    # Its records come between those of the first one; cut where a record of the first one begins.
    cut = min((at for at in _boundaries(first) if at >= cut), default=len(first) - 8)
    second = begin(2) + stream(PARAMS, pairs(VARIABLES), 2, size=50) + stream(STDIN, b"", 2) + raw(ABORT_REQUEST, 2)
    result = read_all(first[:cut] + second + first[cut:])
    assert result.replies == [Record(END_REQUEST, 2, bytes(4) + bytes([CANT_MPX_CONN]) + bytes(3), 0)]
    assert [(item.number, item.content) for item in result.requests] == [(1, b"abc")]
    assert result.end == "idle"


def _boundaries(data: bytes) -> list[int]:
    places, at = [], 0
    while at < len(data):
        places.append(at)
        at += 8 + int.from_bytes(data[at + 4 : at + 6], "big") + data[at + 6]
    return places[1:]


@pytest.mark.parametrize("kind", [PARAMS, STDIN, DATA, ABORT_REQUEST])
def test_records_of_a_request_that_is_not_active_are_ignored(kind: int) -> None:
    late = raw(kind, 7, b"" if kind == ABORT_REQUEST else b"late", padding=4)
    result = read_all(late + request(b"ab") + late + request(number=2) + late)
    assert ([item.content for item in result.requests], result.end, result.replies) == ([b"ab", b""], "idle", [])


@pytest.mark.parametrize(
    "before",
    [begin(), head()[:60], begin() + raw(PARAMS, 1, pairs(VARIABLES)), head()],
    ids=lambda data: str(len(data)),
)
def test_a_head_may_be_aborted(before: bytes) -> None:
    if before == head()[:60]:
        before = begin() + raw(PARAMS, 1, pairs(VARIABLES)[:44])
    end = Record(END_REQUEST, 1, bytes(4) + bytes([REQUEST_COMPLETE]) + bytes(3), 0)
    result = read_all(before + raw(ABORT_REQUEST, 1) + request(number=2))
    assert ([item.number for item in result.requests], result.end, result.replies) == ([2], "idle", [end])
    without_keep = before[:10] + b"\0" + before[11:]
    result = read_all(without_keep + raw(ABORT_REQUEST, 1))
    assert (result.requests, result.end, result.replies) == ([], "aborted", [end])


def test_a_body_may_be_aborted() -> None:
    data = head(REQUEST_METHOD="POST", CONTENT_LENGTH="9") + raw(STDIN, 1, b"abc") + raw(ABORT_REQUEST, 1)
    assert read_all(data) == Read([], "aborted", [])


@pytest.mark.parametrize("body", [None, b"abc"])
def test_an_abort_after_the_request_is_found_and_has_no_other_effect(body: bytes | None) -> None:
    data = request(body) + raw(ABORT_REQUEST, 1)
    assert read_all(data + request(number=3))[1:] == ("idle", [])
    reader = CODEC.make_reader(LIMITS, lambda data: None)
    block = reader.feed(data)
    assert block is not None
    parsed = CODEC.parse_head(block, {"REMOTE_ADDR": ""}, LIMITS)
    if body is None:
        assert CODEC.aborts(parsed, None, reader.rest)
        assert not CODEC.aborts(parsed, None, reader.rest[:-1])
        assert not CODEC.aborts(parsed, None, raw(ABORT_REQUEST, 2) + raw(GET_VALUES, 0))
        assert CODEC.aborts(parsed, None, raw(GET_VALUES, 0, b"\1\0x", padding=5) + raw(ABORT_REQUEST, 1))
        assert not CODEC.aborts(parsed, None, b"junk that is no record" + raw(ABORT_REQUEST, 1))
        return
    for taken in range(len(reader.rest) - 8):
        decoder = CODEC.make_decoder(parsed, LIMITS, lambda data: None)
        if taken:
            decoder.feed(reader.rest[:taken])
        unread = decoder.rest + reader.rest[taken:] if decoder.complete else reader.rest[taken:]
        assert CODEC.aborts(parsed, decoder, unread), taken
        assert not CODEC.aborts(parsed, decoder, unread[:-1]), taken


# ---- what breaks a rule ----

POST = head(REQUEST_METHOD="POST", CONTENT_LENGTH="3")
BROKEN = {
    "version 0": (raw(BEGIN_REQUEST, 1, bytes(8), version=0), "400 a record has version 0 and not 1"),
    "version 2": (request() + raw(BEGIN_REQUEST, 1, bytes(8), version=2), "400 a record has version 2 and not 1"),
    "HTTP": (b"GET / HTTP/1.1\r\n", "400 a record has version 71 and not 1; HTTP is reserve app http"),
    "TLS": (b"\x16\x03\x01", "400 a TLS handshake arrived"),
    "begin of 7 bytes": (raw(BEGIN_REQUEST, 1, bytes(7)), "400 BEGIN_REQUEST has 7 bytes and not 8"),
    "begin of 9 bytes": (raw(BEGIN_REQUEST, 1, bytes(9)), "400 BEGIN_REQUEST has 9 bytes and not 8"),
    "begin twice": (begin() + begin(), "400 request 1 begins twice"),
    "begin twice, in the body": (POST + begin(), "400 request 1 begins twice"),
    "begin with id 0": (begin(0), "400 BEGIN_REQUEST has request id 0"),
    "params with id 0": (begin() + raw(PARAMS, 0, b"ab"), "400 PARAMS has request id 0"),
    "stdin with id 0": (POST + raw(STDIN, 0, b"abc"), "400 STDIN has request id 0"),
    "abort with id 0": (POST + raw(ABORT_REQUEST, 0), "400 ABORT_REQUEST has request id 0"),
    "result with id 0": (raw(GET_VALUES_RESULT, 0), "400 GET_VALUES_RESULT has request id 0"),
    "stdin before params": (begin() + raw(STDIN, 1, b"a"), "400 STDIN is not expected at this point"),
    "end of stdin before params": (begin() + raw(STDIN, 1), "400 STDIN is not expected at this point"),
    "stdin among params": (begin() + raw(PARAMS, 1, pairs(VARIABLES)) + raw(STDIN, 1), "400 STDIN is not expected"),
    "params after their end": (head() + raw(PARAMS, 1, b"ab"), "400 PARAMS is not expected at this point"),
    "params among stdin": (POST + raw(STDIN, 1, b"a") + raw(PARAMS, 1, b"a"), "400 PARAMS is not expected"),
    "data in the head": (begin() + raw(DATA, 1, b"a"), "400 DATA is not expected at this point"),
    "data in the body": (POST + raw(DATA, 1, b"abc"), "400 DATA is not expected at this point"),
    "stdout": (begin() + raw(STDOUT, 1, b"a"), "400 STDOUT is not for applications"),
    "stderr": (POST + raw(STDERR, 1, b"a"), "400 STDERR is not for applications"),
    "end request": (raw(END_REQUEST, 1, bytes(8)), "400 END_REQUEST is not for applications"),
    "get values of a request": (raw(GET_VALUES, 1), "400 GET_VALUES is not for applications"),
    "unknown type of a request": (begin() + raw(12, 1, b"a"), "400 a record of type 12 is not for applications"),
    "type 0 of a request": (begin() + raw(0, 1), "400 a record of type 0 is not for applications"),
    "malformed get values": (raw(GET_VALUES, 0, b"\5\0FCGI"), "400 the last name or value is not complete"),
    "half of a length": (begin() + stream(PARAMS, b"\x80\0"), "400 the last variable is not complete"),
    "one length": (begin() + stream(PARAMS, b"\1"), "400 the last variable is not complete"),
    "a value that is cut": (begin() + stream(PARAMS, pairs(VARIABLES)[:-1]), "400 the last variable is not complete"),
    "no variables": (begin() + stream(PARAMS, b"") + raw(STDIN), "400 there is no REQUEST_METHOD"),
    "stdin too long": (POST + raw(STDIN, 1, b"abcd"), "400 STDIN is longer than CONTENT_LENGTH, 3 bytes"),
    "stdin too long, later": (POST + raw(STDIN, 1, b"abc") + raw(STDIN, 1, b"d"), "400 STDIN is longer than"),
    "stdin too short": (POST + stream(STDIN, b"ab"), "400 STDIN ends after 2 bytes, and CONTENT_LENGTH is 3"),
    "stdin empty": (POST + stream(STDIN, b""), "400 STDIN ends after 0 bytes, and CONTENT_LENGTH is 3"),
    "stdin with length 0": (
        head(CONTENT_LENGTH="0") + stream(STDIN, b"a"),
        "400 STDIN is longer than CONTENT_LENGTH, 0 bytes",
    ),
    "length in words": (request(CONTENT_LENGTH="three"), "400 Content-Length 'three' is not a number"),
    "two lengths": (
        begin() + stream(PARAMS, pairs([*VARIABLES.items(), ("CONTENT_LENGTH", "3"), ("CONTENT_LENGTH", "0")])),
        "400 CONTENT_LENGTH occurs twice",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_a_rule_is_refused(name: str) -> None:
    data, message = BROKEN[name]
    result = read_all(data)
    if "two lengths" in name and result.end == "head":
        result = read_all(data + raw(STDIN))
    assert result.end.startswith(message), result.end
    assert result.replies == []


@pytest.mark.parametrize(
    ("limits", "data", "message"),
    [
        ({"max_head": 300}, begin() + raw(PARAMS, 1, pairs({"X": "y" * 300})), "431 the head is longer than 300 bytes"),
        ({"max_head": 300}, begin() + raw(PARAMS, 1, b"\1\xff\xff\xff\xff"), "431 the head is longer than 300 bytes"),
        ({"max_head": 300}, begin() + raw(PARAMS, 1, b"\x7f\x7f" * 200), "431 the head is longer than 300 bytes"),
        ({"max_field": 128}, request(HTTP_X="y" * 123), "431 HTTP_X is longer than 128 bytes (--max-field)"),
        ({"max_fields": 2}, request(HTTP_X="y", HTTP_Y="z"), "431 more than 2 fields (--max-fields)"),
        ({"max_request_line": 128}, request(REQUEST_URI="/" * 129), "414 REQUEST_URI is longer than 128 bytes"),
        ({"max_body": 2}, POST, "413 Content-Length 3 is above the limit of 2 bytes (--max-body)"),
        (
            {"max_body": 2},
            head(REQUEST_METHOD="POST") + raw(STDIN, 1, b"abc"),
            "413 the body is longer than the limit of 2 bytes (--max-body)",
        ),
    ],
)
def test_limits(limits: dict[str, int], data: bytes, message: str) -> None:
    assert read_all(data, Limits(**limits)).end.startswith(message)


def test_a_length_above_the_limit_is_refused_before_its_variable_comes() -> None:
    reader = CODEC.make_reader(Limits(max_head=300), lambda data: None)
    reader.feed(begin() + raw(PARAMS, 1, pairs({"A": "b"}) + b"\1\x80\0\1"))
    with pytest.raises(Exception, match="the head is longer than 300 bytes"):
        reader.feed(raw(PARAMS, 1, b"\x29"))


@pytest.mark.parametrize("noise", [raw(GET_VALUES, 0), raw(99, 0), begin(2, role=3)])
@pytest.mark.parametrize("before", [b"", begin(), POST])
def test_replies_are_limited(noise: bytes, before: bytes) -> None:
    most = scanner.MOST_REPLIES
    result = read([before + noise * most])
    assert (len(result.replies), result.end[:3] == "400") == (most, False)
    result = read([before + noise * (most + 1)])
    assert result.end == f"400 more than {most} management records and requests that are refused or aborted"
    # Each request begins a new count.
    calm = read([noise * (most // 2) + (request() + noise * (most // 2)) * 5])
    assert len(calm.requests) == 5


def test_requests_that_are_aborted_in_their_heads_are_limited() -> None:
    most = scanner.MOST_REPLIES
    aborted = begin() + raw(PARAMS, 1, pairs(VARIABLES)) + raw(ABORT_REQUEST)
    result = read([aborted * most + request()])
    assert (len(result.replies), len(result.requests), result.end) == (most, 1, "idle")
    result = read([aborted * (most + 1)])
    assert result.end == f"400 more than {most} management records and requests that are refused or aborted"
    assert len(result.replies) == most
    calm = read([(aborted * (most // 2) + request()) * 5])
    assert len(calm.requests) == 5
    for large in (stream(PARAMS, b"\1\0X" * 300, size=1), raw(PARAMS, 1, b"\x7f\x7f" + b"x" * 7000)):
        sent = begin() + large + raw(ABORT_REQUEST)
        result = read([sent * most])
        assert HEAD_FRAMING in result.end
        assert 5 < len(result.replies) < 12
        assert read([sent * 5 + request()]).end == "idle"


def test_ignored_records_are_limited() -> None:
    for before in (b"", begin(), POST):
        for noise in (raw(STDIN, 7, b"x" * 60_000), raw(STDIN, 7), raw(ABORT_REQUEST, 7, padding=255)):
            times = scanner.FREE_FRAMING // len(noise)
            assert read([before + noise * (times - 1)]).end[:3] != "400"
            rule = "(--max-chunk-overhead)" if before == POST else HEAD_FRAMING
            assert rule in read([before + noise * (times + 30)]).end


def test_framing_is_limited_by_what_it_frames() -> None:
    padded = raw(STDIN, 1, b"x", padding=255) * 400
    large = str(1 << 20)
    assert "400 " in read([head(CONTENT_LENGTH=large) + padded]).end
    assert read([head(CONTENT_LENGTH=large) + raw(STDIN, 1, b"x" * 30_000) + padded]).end == "body"
    assert read([head(CONTENT_LENGTH=large) + raw(STDIN, 1, b"x") * 100_000]).end == "body"
    many = begin() + b"".join(raw(PARAMS, 1, bytes([byte])) for byte in pairs({"X": "y" * 20_000}))
    assert HEAD_FRAMING in read([many]).end
    # Only the limit of a body can be set, so only its message names the option.
    wide = Limits(max_chunk_overhead=1000)
    assert HEAD_FRAMING in read([many], wide).end
    assert read([head(CONTENT_LENGTH=large) + padded], wide).end == "body"


# ---- any input ----


def test_a_request_in_one_piece_is_read_as_any_other() -> None:
    """There is a quick path for it. Each byte of a request is changed: what is nearly one has one outcome, too."""
    whole = request(HTTP_X="y" * 130)
    assert read([whole]).end == "idle"
    for at, byte in enumerate(whole):
        for other in {0, 1, 2, byte ^ 1, byte ^ 0x80, 255}:
            data = whole[:at] + bytes([other]) + whole[at + 1 :]
            assert read([data]) == read([data[:9], data[9:]]), (at, other)


def test_too_many_variables_in_one_piece_are_refused_as_in_others() -> None:
    most = most_variables(LIMITS)
    room = pairs([("X", "")] * (most - len(VARIABLES)))
    one = b"\1\0X"
    for more, end in (b"", "idle"), (one, "431 more than"), (one[:2], "400 the last"), (one + one[:2], "431 more than"):
        data = begin() + raw(PARAMS, 1, pairs(VARIABLES) + room + more) + raw(PARAMS) + raw(STDIN)
        assert read([data]) == read([data[:9], data[9:]])
        assert read([data]).end.startswith(end)


NUMBERS = st.sampled_from([0, 1, 1, 1, 2])
RECORDS = st.one_of(
    st.builds(begin, NUMBERS, keep=st.booleans(), role=st.sampled_from([1, 1, 1, 2])),
    st.builds(
        raw,
        st.sampled_from([ABORT_REQUEST, PARAMS, STDIN, DATA, GET_VALUES, 12]),
        NUMBERS,
        st.one_of(st.just(b""), st.just(pairs(VARIABLES)), st.binary(max_size=12)),
        padding=st.integers(0, 9),
    ),
    st.just(request()),
    st.just(POST),
    st.just(stream(STDIN, b"abc")),
    st.binary(max_size=9),
)


@given(st.lists(RECORDS, max_size=7), st.data())
def test_any_input_has_one_outcome(items: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert read(pieces) == read([whole]) == read([whole[at : at + 1] for at in range(len(whole))])


@given(
    st.dictionaries(st.text("ABCXYZ_", min_size=1, max_size=150), st.text(st.characters(max_codepoint=255)), max_size=9)
)
def test_any_variables_arrive(variables: dict[str, str]) -> None:
    given_variables = {f"X_{name}": value for name, value in variables.items()}
    result = deliver(request(**given_variables), lambda pieces: [item.environ for item in read(pieces).requests])
    for name, value in given_variables.items():
        assert result[0].get(name, "") == value
