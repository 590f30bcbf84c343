"""The formats of the access log: every atom, what is refused, and that no client can break a line or a JSON object."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.apps._accesslog.formats import ATOMS, NOTHING, Needs, compile_format, is_format
from reserve.apps._accesslog.record import DetailedRecord, Details, Record

SECOND = 1_700_000_000.25


def detailed(
    request: str = "GET /a%20b?c=1&d HTTP/1.1",
    host: str = "192.0.2.1",
    status: int = 200,
    referer: str = "http://r/",
    user_agent: str = "me/1",
    **values: Any,
) -> DetailedRecord:
    details = Details()
    for name, value in values.items():
        setattr(details, name, value)
    parts = request.split(" ")
    method, target, version = parts if len(parts) == 3 else ("", request, "")
    return DetailedRecord(SECOND, host, method, target, version, status, 5, referer, user_agent, details)


def line(pattern: str, record: DetailedRecord) -> str:
    return compile_format(pattern).render(record)


@pytest.mark.parametrize(
    ("atom", "values", "shown"),
    [
        ("h", {}, "192.0.2.1"),
        ("h", {"host": ""}, "-"),
        ("l", {}, "-"),
        ("u", {"user": "kim"}, "kim"),
        ("u", {}, "-"),
        ("r", {}, "GET /a%20b?c=1&d HTTP/1.1"),
        ("m", {}, "GET"),
        ("U", {}, "/a%20b"),
        ("q", {}, "c=1&d"),
        ("q", {"request": "GET / HTTP/1.1"}, ""),
        ("H", {}, "HTTP/1.1"),
        ("m", {"request": "nonsense"}, "-"),
        ("U", {"request": "nonsense"}, "nonsense"),
        ("H", {"request": "GET /long..."}, "-"),
        ("s", {"status": 404}, "404"),
        ("B", {}, "5"),
        ("b", {}, "5"),
        ("f", {}, "http://r/"),
        ("a", {"user_agent": ""}, "-"),
        ("T", {"duration": 1.9}, "1"),
        ("M", {"duration": 1.9}, "1900"),
        ("D", {"duration": 1.5}, "1500000"),
        ("L", {"duration": 1.5}, "1.500000"),
        ("D", {}, "-"),
        ("p", {}, "<PID>"),
        ("process", {}, "PID"),
        ("queue", {"queue": 0.25}, "0.250000"),
        ("queue", {}, "-"),
        ("app", {"app": 0.5}, "0.500000"),
        ("ttfb", {"ttfb": 0.5}, "0.500000"),
        ("write", {"write": 0.5}, "0.500000"),
        ("duration", {"duration": 0.5}, "0.500000"),
        ("frontend", {"frontend": 0.5}, "0.500000"),
        ("received", {"received": 70}, "70"),
        ("sent", {"head_sent": 100}, "105"),
        ("tls", {"tls": "TLSv1.3"}, "TLSv1.3"),
        ("thread", {"thread": "reserve-worker-1"}, "reserve-worker-1"),
        ("request_id", {"request_id": "x-1"}, "x-1"),
        ("traceparent", {"traceparent": "00-a"}, "00-a"),
        ("{X-Kind}i", {"before": {"HTTP_X_KIND": "k"}}, "k"),
        ("{content-type}i", {"before": {"CONTENT_TYPE": "text/plain"}}, "text/plain"),
        ("{X-Kind}i", {}, "-"),
        ("{X-Kind}o", {"response_fields": {"x-kind": "k"}}, "k"),
        ("{user.name}e", {"variables": {"user.name": "kim"}}, "kim"),
    ],
)
def test_every_atom(atom: str, values: dict[str, Any], shown: str) -> None:
    assert line(f"<%({atom})s>", detailed(**values)) == f"<{shown}>".replace("PID", str(os.getpid()))


def test_every_atom_without_braces_has_a_row_above() -> None:
    rows = {row[0] for row in test_every_atom.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert set(ATOMS) - rows == {"t"}


def test_the_time_is_in_brackets() -> None:
    assert re.fullmatch(r"\[1[45]/Nov/2023:\d\d:\d\d:\d\d [+-]\d{4}\]", line("%(t)s", detailed()))


def test_a_pattern_is_text_with_atoms_and_percent_signs() -> None:
    assert line("100%% \t%(s)s%(s)s {}%%s", detailed()) == "100% \t200200 {}%s"


def test_gunicorns_default_pattern_is_the_combined_format() -> None:
    pattern = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
    assert line(pattern, detailed()) == compile_format("combined").render(detailed())
    assert compile_format("combined").render(detailed()).startswith(compile_format("common").render(detailed()))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("%(hh)s", "no atom %(hh)s; the nearest is %(h)s"),
        ("%(S)s", "no atom %(S)s; the nearest is %(s)s"),
        ("%(requestid)s", "the nearest is %(request_id)s"),
        ("%(que)s", "the nearest is %(queue)s"),
        ("%(xyzzy)s", "the nearest is %(h)s"),
        ("%({host})s", "the nearest is %({host}i)s"),
        ("%({host}x)s", "the nearest is %({host}i)s"),
        ("%({a b}i)s", "'a b' is no name of a header field"),
        ("%(h)d", "after % in '%(h)d'"),
        ("%h %s", "there is no atom"),
        ("50% %(h)s", "a percent sign is %%"),
        ("jsn", "did you mean 'json'?"),
        ("", "it has no atom"),
        ("%%", "it has no atom"),
        ("%(h)s\n", "one line"),
        ("%(h)s\x1b[2J", "cannot be printed"),
    ],
)
def test_a_wrong_pattern_names_what_is_wrong_and_the_nearest_atom(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        is_format(pattern)


def test_a_format_needs_only_what_it_shows() -> None:
    assert compile_format("combined").needs == compile_format('%(h)s "%(r)s" %(p)s').needs == NOTHING
    assert compile_format("%(app)s").needs == Needs(details=True)
    assert compile_format("%(write)s %(request_id)s").needs == Needs(details=True, written=True, request_id=True)
    needs = compile_format("%({A-b}i)s %({A-B}o)s %({x}e)s %({a-b}i)s").needs
    assert (needs.keys, needs.response_fields, needs.variables) == (("HTTP_A_B",), ("a-b",), ("x",))


def test_an_object_of_json_has_every_field() -> None:
    values = {
        "queue": 0.001, "app": 0.25, "ttfb": 0.125, "write": 0.5, "duration": 0.375, "frontend": 2.0, "received": 70,
        "head_sent": 100, "tls": "TLSv1.3", "thread": "t", "request_id": "i", "traceparent": "p",
    }  # fmt: skip
    assert json.loads(line("json", detailed(**values))) == {
        "time": "2023-11-14T22:13:20.250Z", "client": "192.0.2.1", "method": "GET", "target": "/a%20b?c=1&d",
        "protocol": "HTTP/1.1", "status": 200, "bytes": 5, "received": 70, "sent": 105, "referer": "http://r/",
        "user_agent": "me/1", "frontend": 2.0, "queue": 0.001, "app": 0.25, "ttfb": 0.125, "write": 0.5,
        "duration": 0.375, "tls": "TLSv1.3", "thread": "t", "process": os.getpid(), "request_id": "i",
        "traceparent": "p",
    }  # fmt: skip
    empty = json.loads(line("json", detailed("\x16\x03", host="", referer="", user_agent="")))
    assert empty["target"] == "\x16\x03"
    absent = {"client", "method", "protocol", "referer", "user_agent", "frontend", "queue", "app", "ttfb", "write"}
    assert {name for name, value in empty.items() if value is None} >= absent


def test_json_shows_utf_8_as_the_characters_that_were_sent() -> None:
    sent = "h\u00e9 \u65e5".encode().decode("latin-1")
    assert json.loads(line("json", detailed(user_agent=sent)))["user_agent"] == "h\u00e9 \u65e5"
    assert json.loads(line("json", detailed(user_agent="\xff\xe9")))["user_agent"] == "\xff\xe9"


# ---- what a client sends ----

ANY = st.text(st.characters(), max_size=40)


@given(ANY, ANY, ANY, ANY)
def test_no_text_breaks_a_line_or_its_quotes(request: str, referer: str, agent: str, value: str) -> None:
    record = detailed(
        request, value, referer=referer, user_agent=agent, user=value, before={"HTTP_X": value},
        response_fields={"x": value}, variables={"x": value}, request_id=value, traceparent=value,
    )  # fmt: skip
    pattern = '"%(r)s" "%(h)s" "%(u)s" "%(m)s" "%(U)s" "%(q)s" "%(f)s" "%(a)s" "%({x}i)s" "%({x}o)s" "%({x}e)s"'
    for text in (line(pattern, record), line("combined", record)):
        assert text.isascii()
        assert text.isprintable()
        assert "\\" not in re.sub(r"\\x[0-9a-f]{2,}", "", text)
    assert line(pattern, record).count('"') == 22
    assert line("combined", record).count('"') == 6


@given(ANY, ANY, ANY)
def test_every_text_is_one_object_of_json_on_one_line(request: str, referer: str, value: str) -> None:
    text = line("json", detailed(request, value, referer=referer, request_id=value, traceparent=value, thread=value))
    assert text.isascii()
    assert text.isprintable()
    shown = json.loads(text)
    assert len(shown) == 22
    if referer.isascii():
        assert (shown["referer"] or "") == referer


@given(st.text("%()s{}ioe hrqUnx", max_size=30))
def test_every_pattern_is_compiled_or_refused(pattern: str) -> None:
    with suppress(ValueError):  # no other exception
        assert isinstance(compile_format(pattern).render(detailed()), str)


TEXTS = st.text(max_size=8) | st.text(st.sampled_from(' a"\\\n\x7f\xe9-0'), max_size=8) | st.just("")
RECORDS = st.tuples(
    st.floats(SECOND, SECOND + 2),
    TEXTS,
    st.sampled_from(["GET", ""]) | TEXTS,
    TEXTS,
    st.sampled_from(["HTTP/1.1", ""]) | TEXTS,
    st.integers(-1, 1200) | st.just(200),
    st.integers(0, 2000) | st.just(0),
    TEXTS,
    TEXTS,
)


@given(st.lists(RECORDS, min_size=1, max_size=8))
def test_the_combined_format_makes_the_same_lines_of_many_records_as_of_each(records: list[Any]) -> None:
    form = compile_format("combined")
    records.sort(key=lambda record: int(record[0]))  # the lines of a second follow each other
    assert form.encode(records) == "".join(form.render(Record._make(record)) + "\n" for record in records).encode()


def test_a_batch_is_in_the_order_of_its_seconds_and_loses_no_line() -> None:
    records = [(SECOND + second, "h", "GET", f"/{n}", "HTTP/1.1", 200, 0, "", "") for n, second in enumerate([1, 0, 1])]
    assert re.findall(r":(\d\d) [^/]*(/\d)", compile_format("combined").encode(records).decode()) == [
        ("20", "/1"), ("21", "/0"), ("21", "/2"),
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["common", "combined", '%(h)s "%(r)s" %(m)s'])
def test_records_wait_as_plain_tuples_for_formats_without_details(word: str) -> None:
    record = (SECOND, "h", "GET", "/", "HTTP/1.1", 200, 0, "", "")
    form = compile_format(word)
    assert form.encode([record, record]) == f"{form.render(Record._make(record))}\n".encode() * 2
    assert b'"GET / HTTP/1.1"' in form.encode([record])
