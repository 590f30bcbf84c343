"""The fuzz targets without the fuzzer: with the seeds, with mutated seeds, and with faults in the parsers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from reserve.errors import RemoteError
from reserve.examples.miniredis import resp
from reserve.protocol.cgi import environ
from reserve.protocol.fastcgi import body as fastcgi_body
from reserve.protocol.fastcgi import scanner
from reserve.protocol.http1 import body, head, headreader, trailer
from reserve.protocol.scgi import netstring
from reserve.protocol.uwsgi import packet
from tests.apps.cgi.protocols import FASTCGI, SCGI, UWSGI
from tests.fuzz import redis, targets
from tests.fuzz.mutation import LONGEST, TOKENS, mutate, mutated
from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import LIMITS, NARROW, TARGETS, TIGHT, USUAL, unpack
from tests.protocol.fastcgi.messages import raw

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
DELIVERIES = (0, 1, 7, 77, 191, 192, 195, 255)


def inputs(seeds: list[bytes]) -> list[bytes]:
    return [
        bytes((limits, (delivery + number) % 256)) + seed
        for number, seed in enumerate(seeds)
        for limits in range(len(LIMITS))
        for delivery in DELIVERIES
    ]


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_pass_on_all_seeds(name: str) -> None:
    for data in (b"", b"\0", b"\0\0", *inputs(SEEDS[name])):
        TARGETS[name](data)


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_pass_on_mutated_seeds(name: str, start: int) -> None:
    for data in mutated(inputs(SEEDS[name]), 500, start):
        TARGETS[name](data)


def test_an_input_chooses_limits_and_delivery() -> None:
    assert unpack(b"\0\0abc") == (USUAL, b"abc", [b"", b"abc"])
    assert unpack(b"\1\1abcdefgh") == (TIGHT, b"abcdefgh", [b"abcde", b"fgh"])
    assert unpack(b"\5\0a") == (NARROW, b"a", [b"", b"a"])
    assert unpack(b"\0\xc0abc") == (USUAL, b"abc", [b"a", b"b", b"c"])
    assert unpack(b"\0\xffab") == (USUAL, b"ab", [b"ab"])


def test_mutations_are_reproducible() -> None:
    seeds = SEEDS["stream"]
    assert list(mutated(seeds, 50, 3)) == list(mutated(seeds, 50, 3)) != list(mutated(seeds, 50, 4))
    assert {b"\r\n", b'"', b"\\", b"\xff", b"Host: a\r\n"} <= set(TOKENS)
    rng = random.Random(1)
    assert max(len(mutate(b"x" * LONGEST, seeds, rng)) for _ in range(50)) == LONGEST


# ---- the targets find faults ----


def _buffer_is_kept_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = headreader.HeadReader._reset

    def keep(reader: headreader.HeadReader) -> None:
        if not hasattr(reader, "_buffer"):
            reset(reader)

    monkeypatch.setattr(headreader.HeadReader, "_reset", keep)


def _decoder_continues_after_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "REFUSED", body.SIZE_LINE)


def _a_size_line_in_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = body.ChunkedDecoder._parse_line

    def refuse(decoder: body.ChunkedDecoder, line: bytes) -> int:
        size = parse(decoder, line)
        if size:
            raise RemoteError(400, "only the fast path accepts chunks")
        return size

    monkeypatch.setattr(body.ChunkedDecoder, "_parse_line", refuse)


def _another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headreader, "parse_request_line", lambda line: int(line))


class _Keys(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "HTTP_" + name.upper().replace("-", "__")


def _a_hyphen_is_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "ENVIRON_KEYS", _Keys())


def _trailers_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    add = trailer.TrailerReader._add
    monkeypatch.setattr(trailer.TrailerReader, "_add", lambda reader, line: add(reader, line[:1] + line))


def _a_refused_head_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = netstring.NetstringReader._reset

    def keep(reader: netstring.NetstringReader) -> None:
        if not hasattr(reader, "_buffer"):
            reset(reader)

    monkeypatch.setattr(netstring.NetstringReader, "_reset", keep)


def _what_follows_a_head_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = packet.PacketReader.feed

    def lose(reader: packet.PacketReader, data: bytes) -> bytes | None:
        block = feed(reader, data)
        reader.rest = b""
        return block

    monkeypatch.setattr(packet.PacketReader, "feed", lose)


def _a_variable_replaces_what_the_server_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environ, "OUR_PREFIXES", ())
    monkeypatch.setattr(environ, "CACHED_KINDS", {})  # else the kinds that the fault has made stay in it


def _a_string_is_shorter_than_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resp, "_take_simple", lambda data, commands, headers, max_line: commands.append([b"a"]) or 0)


def _the_padding_of_a_record_in_pieces_is_read_as_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = scanner.RecordScanner._scan

    def forget(decoder: scanner.RecordScanner, data: bytes) -> bool:
        decoder._padding = 0
        return scan(decoder, data)

    monkeypatch.setattr(scanner.RecordScanner, "_scan", forget)


def _a_piece_of_a_body_is_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    take = fastcgi_body.StdinDecoder._take
    monkeypatch.setattr(fastcgi_body.StdinDecoder, "_take", lambda decoder, content: take(decoder, content[::-1]))


@pytest.mark.parametrize(
    ("name", "fault", "data"),
    [
        ("head", _buffer_is_kept_after_a_refusal, b"GET / HTTP/1.1\r\nX: y\n"),
        ("head", _another_error, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("head", _a_hyphen_is_doubled, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"),
        ("chunked", _decoder_continues_after_a_refusal, b"3\r\nabcd\r\n0\r\n\r\n"),
        ("chunked", _a_size_line_in_pieces_is_refused, b"3\r\nabc\r\n0\r\n\r\n"),
        ("chunked", _trailers_are_lost, b"0\r\nX: y\r\n\r\n"),
        ("stream", _a_size_line_in_pieces_is_refused, POST + b"3\r\nabc\r\n"),
        ("stream", _a_hyphen_is_doubled, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n"),
        ("stream", _trailers_are_lost, POST + b"0\r\nX: y\r\n\r\n"),
        ("scgi", _a_refused_head_is_kept, b"1x"),
        ("scgi", _a_variable_replaces_what_the_server_sets, SCGI.request("/", b"", {"wsgi.errors": "x"})),
        ("resp", _a_string_is_shorter_than_its_length, redis.write([b"SET", b"a\r\nb"])),
        ("uwsgi", _what_follows_a_head_is_lost, UWSGI.request("/", b"body")),
        ("uwsgi", _a_variable_replaces_what_the_server_sets, UWSGI.request("/", b"", {"wsgi.errors": "x"})),
        ("fcgi", _a_variable_replaces_what_the_server_sets, FASTCGI.request("/", b"", {"wsgi.errors": "x"})),
        ("fcgi", _the_padding_of_a_record_in_pieces_is_read_as_a_record, raw(99, 0, padding=9)),
        ("fcgi", _a_piece_of_a_body_is_reversed, FASTCGI.request("/", b"abc")),
    ],
)  # fmt: skip
def test_a_target_finds_a_fault(
    monkeypatch: pytest.MonkeyPatch, name: str, fault: Callable[[pytest.MonkeyPatch], Any], data: bytes
) -> None:
    deliveries = [bytes((0, delivery)) + data for delivery in range(256)]
    for delivery in deliveries:
        targets.TARGETS[name](delivery)
    fault(monkeypatch)
    failures = 0
    for delivery in deliveries:
        try:
            targets.TARGETS[name](delivery)
        except RemoteError:
            raise
        except (AssertionError, ValueError):
            failures += 1
    assert failures
