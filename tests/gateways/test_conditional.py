"""RFC 9110 sections 8.8, 13 and 14 as tables: its examples, its order of precedence, what a server may ignore."""

from __future__ import annotations

import calendar
import re
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.gateways.conditional import (
    MAX_RANGES,
    Conditions,
    Outcome,
    evaluate,
    format_date,
    make_etag,
    parse_date,
    parse_etags,
    parse_ranges,
    retained_in_304,
    strong_match,
    weak_match,
)

EXAMPLE = 784111777
"""Sun, 06 Nov 1994 08:49:37 GMT, the example of section 5.6.7."""
NOW = 1_700_000_000.0
BEFORE, SAME, AFTER = (formatdate(EXAMPLE + step, usegmt=True) for step in (-1, 0, 1))
INVALID = "Sun, 06 Nov 1994"


# ---- dates ----


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
        ("Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE),
        ("Sun Nov  6 08:49:37 1994", EXAMPLE),
        (" Sun, 06 Nov 1994 08:49:37 GMT\t", EXAMPLE),
        ("Sat, 31 Dec 2016 23:59:60 GMT", calendar.timegm((2017, 1, 1, 0, 0, 0))),
        ("Thu, 29 Feb 2024 00:00:00 GMT", calendar.timegm((2024, 2, 29, 0, 0, 0))),
        ("Wed Nov 16 08:49:37 1994", EXAMPLE + 10 * 86400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", calendar.timegm((9999, 12, 31, 23, 59, 59))),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        *(
            (bad, None)
            for bad in (
                "",
                "0",
                "784111777",
                INVALID,
                "Sun, 06 Nov 1994 08:49:37",
                "Sun, 06 Nov 1994 08:49:37 UTC",
                "Sun, 06 Nov 1994 08:49:37 +0000",
                "Sun, 6 Nov 1994 08:49:37 GMT",
                "sun, 06 nov 1994 08:49:37 gmt",
                "Sun, 06 Nov 1994 24:00:00 GMT",
                "Sun, 06 Nov 1994 08:60:37 GMT",
                "Sun, 06 Nov 1994 08:49:61 GMT",
                "Sun, 31 Nov 1994 08:49:37 GMT",
                "Sun, 29 Feb 2023 08:49:37 GMT",
                "Sat, 01 Jan 0000 00:00:00 GMT",
                "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
                "Sun, 06 Nov 1994 08:49:37 GMT\n",
                "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
                "1994-11-06T08:49:37Z",
            )
        ),
    ],
)
def test_dates(value: str, expected: int | None) -> None:
    assert parse_date(value) == expected


@pytest.mark.parametrize(
    ("two_digits", "now", "year"),
    [("94", 2023, 1994), ("73", 2023, 1973), ("72", 2023, 2072), ("24", 2023, 2024), ("01", 2099, 2101)],
)
def test_two_digits_of_a_year_are_at_most_fifty_years_in_the_future(two_digits: str, now: int, year: int) -> None:
    value = f"Sunday, 06-Dec-{two_digits} 08:49:37 GMT"
    moment = parse_date(value, calendar.timegm((now, 6, 1, 0, 0, 0)))
    assert moment == calendar.timegm((year, 12, 6, 8, 49, 37))


@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_written_dates_are_those_of_email_and_are_read_again(moment: int) -> None:
    text = format_date(moment)
    assert parse_date(text) == moment
    if moment >= 0:
        assert text == formatdate(moment, usegmt=True)


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), 1e30, -1e12, 253_402_300_800])
def test_a_time_that_no_date_can_say(moment: float) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        format_date(moment)


# ---- entity tags ----


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),
    [  # the table of section 8.8.3.2
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_comparison(one: str, other: str, strong: bool, weak: bool) -> None:
    assert (strong_match(one, other), weak_match(one, other)) == (strong, weak)
    assert (strong_match(other, one), weak_match(other, one)) == (strong, weak)


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ('"xyzzy"', ('"xyzzy"',)),
        ('W/"xyzzy"', ('W/"xyzzy"',)),
        ('"xyzzy", "r2d2xxxx", "c3piozzzz"', ('"xyzzy"', '"r2d2xxxx"', '"c3piozzzz"')),
        ('W/"xyzzy", W/"r2d2xxxx"', ('W/"xyzzy"', 'W/"r2d2xxxx"')),
        ('""', ('""',)),
        ('"a,b" ,"c\\"', ('"a,b"', '"c\\"')),
        (',, "a" ,, "b",', ('"a"', '"b"')),
        ('"\xe9"', ('"\xe9"',)),
        ("", ()),
        ("*", ()),
        ("xyzzy", ()),
        ('"xyzzy', ()),
        ('w/"xyzzy"', ()),
        ('"a" "b"', ()),
        ('"a", b', ()),
        ('*, "a"', ()),
        ('"a b"', ()),
        ('"a"\n', ()),
    ],
)
def test_lists_of_tags(value: str, tags: tuple[str, ...]) -> None:
    assert parse_etags(value) == tags


def test_long_lists_take_linear_time() -> None:
    assert len(parse_etags('"a", ' * 100_000)) == 100_000
    assert parse_etags(" , " * 100_000 + "x") == ()


def test_making_tags() -> None:
    assert make_etag("1f-2") == '"1f-2"'
    assert make_etag("1f-2", weak=True) == 'W/"1f-2"'
    for bad in ('a"b', "a b", "\n", "\x7f", "\u0100"):
        with pytest.raises(ValueError, match="entity tag"):
            make_etag(bad)


# ---- ranges ----


@pytest.mark.parametrize(
    ("value", "ranges"),
    [  # the examples of section 14.1.2, of a representation of 10000 bytes
        ("bytes=0-499", ((0, 500),)),
        ("bytes=500-999", ((500, 1000),)),
        ("bytes=-500", ((9500, 10000),)),
        ("bytes=9500-", ((9500, 10000),)),
        ("bytes=0-0,-1", ((0, 1), (9999, 10000))),
        ("bytes= 0-0 , -1 ,", ((0, 1), (9999, 10000))),
        ("bytes=500-600,601-999", ((500, 601), (601, 1000))),
        ("bytes=7000-7999,500-999", ((7000, 8000), (500, 1000))),
        ("bytes=500-700,601-999", None),  # overlapping
        ("BYTES=0-499", ((0, 500),)),
        ("bytes=0-", ((0, 10000),)),
        ("bytes=0-99999", ((0, 10000),)),
        ("bytes=-99999", ((0, 10000),)),
        (f"bytes=0-{'9' * 5000}", ((0, 10000),)),
        (f"bytes=-{'9' * 5000}", ((0, 10000),)),
        (f"bytes={'0' * 5000}1-1", ((1, 2),)),
        ("bytes=10000-", ()),
        (f"bytes={'9' * 5000}-", ()),
        ("bytes=-0", ()),
        ("bytes=20000-30000,10000-10000", ()),
        ("bytes=10000-,5-6", ((5, 7),)),
        ("bytes=5-4", None),
        ("bytes=0-1,5-4", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes", None),
        ("bytes 0-1", None),
        ("bytes =0-1", None),
        ("bytes=a-b", None),
        ("bytes=0-1;2-3", None),
        ("bytes=+1-2", None),
        ("bytes=0x0-1", None),
        ("bytes=1_0-20", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=--5", None),
        ("bytes=1 - 2", None),
        ("bytes=0-1, bytes=2-3", None),
        ("lines=0-1", None),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 32, 2)), tuple((n, n + 1) for n in range(0, 32, 2))),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 34, 2)), None),
        ("bytes=" + "," * 1000 + "1-2", None),
        ("bytes=" + "0-," * 500_000, None),
    ],
)  # fmt: skip
def test_ranges(value: str, ranges: tuple[tuple[int, int], ...] | None) -> None:
    assert parse_ranges(value, 10_000) == ranges


def test_an_empty_representation_has_no_ranges_and_is_sent_whole() -> None:
    assert parse_ranges("bytes=0-", 0) is None
    assert parse_ranges("bytes=-5", 0) is None


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(0, 250), st.integers(0, 250)), min_size=1, max_size=20))
def test_ranges_lie_in_the_representation_and_never_overlap(size: int, pairs: list[tuple[int, int]]) -> None:
    ranges = parse_ranges("bytes=" + ",".join(f"{first}-{last}" for first, last in pairs), size)
    if any(last < first for first, last in pairs) or len(pairs) > MAX_RANGES:
        assert ranges is None
        return
    wanted = [set(range(first, min(last + 1, size))) for first, last in pairs if first < size]
    if sum(map(len, wanted)) != len(set().union(*wanted)):
        assert ranges is None
    else:
        assert ranges is not None
        assert [set(range(*pair)) for pair in ranges] == wanted
        assert sum(stop - start for start, stop in ranges) <= size


# ---- evaluation: section 13.2.2 ----

WHOLE, NOT_MODIFIED, FAILED, UNSATISFIABLE = Outcome(200), Outcome(304), Outcome(412), Outcome(416)
PART = Outcome(206, ((0, 5),))


def decide(method: str, **values: Any) -> Outcome:
    """What the example gets: a file with a strong tag; values are fields of the request, or replace parameters."""
    fields = {name: values.pop(name) for name in Conditions._fields if name in values}
    example = {"etag": '"a"', "last_modified": EXAMPLE, "size": 100, "now": NOW}
    return evaluate(method, Conditions(**fields), **{**example, **values})


@pytest.mark.parametrize(
    ("method", "fields", "expected"),
    [
        ("GET", {}, WHOLE),
        # step 1: If-Match
        ("GET", {"if_match": '"a"'}, WHOLE),
        ("PUT", {"if_match": '"b", "a"'}, WHOLE),
        ("PUT", {"if_match": '"b"'}, FAILED),
        ("PUT", {"if_match": 'W/"a"'}, FAILED),
        ("PUT", {"if_match": "*"}, WHOLE),
        ("PUT", {"if_match": "a"}, FAILED),
        ("PUT", {"if_match": ""}, FAILED),
        ("GET", {"if_match": '"b"', "if_none_match": '"a"'}, FAILED),
        # step 2: If-Unmodified-Since, only without If-Match
        ("PUT", {"if_unmodified_since": BEFORE}, FAILED),
        ("PUT", {"if_unmodified_since": SAME}, WHOLE),
        ("PUT", {"if_unmodified_since": AFTER}, WHOLE),
        ("PUT", {"if_unmodified_since": INVALID}, WHOLE),
        ("PUT", {"if_unmodified_since": BEFORE, "if_match": '"a"'}, WHOLE),
        ("GET", {"if_unmodified_since": BEFORE, "if_none_match": '"a"'}, FAILED),
        # step 3: If-None-Match
        ("GET", {"if_none_match": '"a"'}, NOT_MODIFIED),
        ("HEAD", {"if_none_match": 'W/"a"'}, NOT_MODIFIED),
        ("GET", {"if_none_match": '"b", W/"a"'}, NOT_MODIFIED),
        ("GET", {"if_none_match": "*"}, NOT_MODIFIED),
        ("GET", {"if_none_match": '"b"'}, WHOLE),
        ("GET", {"if_none_match": "a"}, WHOLE),
        ("PUT", {"if_none_match": "*"}, FAILED),
        ("DELETE", {"if_none_match": '"a"'}, FAILED),
        ("GET", {"if_match": '"a"', "if_none_match": '"a"'}, NOT_MODIFIED),
        # step 4: If-Modified-Since, only without If-None-Match, and of GET and HEAD
        ("GET", {"if_modified_since": SAME}, NOT_MODIFIED),
        ("HEAD", {"if_modified_since": AFTER}, NOT_MODIFIED),
        ("GET", {"if_modified_since": "Sunday, 06-Nov-94 08:49:37 GMT"}, NOT_MODIFIED),
        ("GET", {"if_modified_since": "Sun Nov  6 08:49:37 1994"}, NOT_MODIFIED),
        ("GET", {"if_modified_since": BEFORE}, WHOLE),
        ("GET", {"if_modified_since": INVALID}, WHOLE),
        ("POST", {"if_modified_since": SAME}, WHOLE),
        ("GET", {"if_modified_since": SAME, "if_none_match": '"b"'}, WHOLE),
        ("GET", {"if_modified_since": BEFORE, "if_none_match": '"a"'}, NOT_MODIFIED),
        # steps 5 and 6: Range and If-Range, only of GET
        ("GET", {"range": "bytes=0-4"}, PART),
        ("GET", {"range": "bytes=100-"}, UNSATISFIABLE),
        ("GET", {"range": "x=1"}, WHOLE),
        ("HEAD", {"range": "bytes=0-4"}, WHOLE),
        ("HEAD", {"range": "bytes=100-"}, WHOLE),
        ("POST", {"range": "bytes=0-4"}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": '"a"'}, PART),
        ("GET", {"range": "bytes=0-4", "if_range": '"b"'}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": 'W/"a"'}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": '"a", "a"'}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": "*"}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": SAME}, PART),
        ("GET", {"range": "bytes=0-4", "if_range": AFTER}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": BEFORE}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_range": INVALID}, WHOLE),
        ("GET", {"range": "bytes=100-", "if_range": '"b"'}, WHOLE),
        ("GET", {"range": "bytes=100-", "if_range": '"a"'}, UNSATISFIABLE),
        ("GET", {"if_range": '"a"'}, WHOLE),
        ("GET", {"range": "bytes=0-4", "if_none_match": '"a"'}, NOT_MODIFIED),
        ("GET", {"range": "bytes=0-4", "if_none_match": '"b"', "if_range": '"a"'}, PART),
        ("GET", {"range": "bytes=0-4", "if_match": '"b"'}, FAILED),
        # methods without a representation
        ("OPTIONS", {"if_none_match": "*", "if_match": '"b"'}, WHOLE),
        ("TRACE", {"if_match": '"b"'}, WHOLE),
    ],
)
def test_precedence(method: str, fields: dict[str, str], expected: Outcome) -> None:
    assert decide(method, **fields) == expected


def test_a_resource_without_a_representation() -> None:
    assert decide("PUT", exists=False, if_none_match="*") == WHOLE
    assert decide("PUT", exists=False, if_match="*") == FAILED
    assert decide("PUT", exists=False, if_match='"a"') == FAILED
    assert decide("PUT", exists=False, if_unmodified_since=BEFORE) == WHOLE


def test_a_representation_without_validators() -> None:
    for fields in ({"if_none_match": '"a"'}, {"if_modified_since": AFTER}, {"if_unmodified_since": BEFORE}):
        assert decide("GET", etag=None, last_modified=None, **fields) == WHOLE
    assert decide("GET", etag=None, last_modified=None, range="bytes=0-4", if_range='"a"') == WHOLE
    assert decide("GET", etag=None, last_modified=None, range="bytes=0-4", if_range=SAME) == WHOLE
    assert decide("GET", etag=None, last_modified=None, if_match='"a"') == FAILED


def test_weak_validators_are_of_no_use_for_ranges() -> None:
    assert decide("GET", etag='W/"a"', range="bytes=0-4", if_range='W/"a"') == WHOLE
    assert decide("GET", now=EXAMPLE + 0.9, range="bytes=0-4", if_range=SAME) == WHOLE
    assert decide("GET", now=EXAMPLE + 1, range="bytes=0-4", if_range=SAME) == PART


def test_fractions_of_a_second_do_not_make_a_file_newer_than_its_own_date() -> None:
    assert decide("GET", last_modified=EXAMPLE + 0.75, if_modified_since=SAME) == NOT_MODIFIED
    assert decide("GET", last_modified=EXAMPLE + 0.75, if_unmodified_since=SAME) == WHOLE


def test_without_a_size_there_are_no_ranges() -> None:
    assert decide("GET", size=None, range="bytes=0-4") == WHOLE


def test_conditions_of_an_environ() -> None:
    environ = {
        "HTTP_IF_MATCH": "1",
        "HTTP_IF_NONE_MATCH": "2",
        "HTTP_IF_MODIFIED_SINCE": "3",
        "HTTP_IF_UNMODIFIED_SINCE": "4",
        "HTTP_IF_RANGE": "5",
        "HTTP_RANGE": "6",
    }
    assert Conditions.from_environ(environ) == Conditions("1", "2", "3", "4", "5", "6")
    assert Conditions.from_environ({}) == Conditions()


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS"]),
    st.lists(st.one_of(st.none(), st.text("bytes=-0123,*\"W/a ", max_size=12)), min_size=6, max_size=6),
)  # fmt: skip
def test_no_field_makes_an_exception(method: str, values: list[str | None]) -> None:
    outcome = evaluate(method, Conditions(*values), etag='"a"', last_modified=EXAMPLE, size=10, now=NOW)
    assert outcome.status in (200, 206, 304, 412, 416)
    assert bool(outcome.ranges) == (outcome.status == 206)


# ---- the head of a 304 ----


def test_a_304_has_what_a_cache_updates_and_nothing_about_a_body() -> None:
    kept = [("ETag", '"a"'), ("Cache-Control", "no-cache"), ("Vary", "Cookie"), ("Set-Cookie", "a=b")]
    dropped = [
        ("Content-Type", "text/html"),
        ("content-length", "5"),
        ("Content-Encoding", "gzip"),
        ("Last-Modified", SAME),
    ]
    assert list(retained_in_304(kept + dropped)) == kept
    assert list(retained_in_304(dropped)) == dropped[3:]
    assert re.fullmatch(r"[A-Z][a-z]{2}, .* GMT", dropped[3][1])
