"""Conditional requests and ranges (RFC 9110 sections 8.8, 13 and 14): which response a request asks for.

Pure functions over the values of header fields. What reads or makes a body calls :func:`evaluate` with the method, the
:class:`Conditions` of the request and the validators of the representation that it would send, and gets the status and
the ranges. RFC 9110 section 13.2.1 wants this done only where the response without conditions would be a 2xx, and
before an unsafe method changes anything.

A field that cannot be understood never makes an error: a date that is none, an unknown range unit or a broken range is
ignored, and a broken list of entity tags has no tag that matches.

An entity tag is a ``str`` as in the field, with its quotes: ``"abc"`` is a strong one, ``W/"abc"`` a weak one. A date
is in whole seconds since the epoch. A range is a pair (start, stop), as in a slice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

__all__ = [
    "MAX_RANGES",
    "Conditions",
    "Outcome",
    "evaluate",
    "format_date",
    "make_etag",
    "parse_date",
    "parse_etags",
    "parse_ranges",
    "retained_in_304",
    "strong_match",
    "weak_match",
]

MAX_RANGES = 16
"""A request for more ranges than these gets the whole representation: RFC 9110 section 14.2 calls it a sign of a broken
client or an attack, and a server may ignore every Range field."""

_UNCONDITIONAL = ("CONNECT", "OPTIONS", "TRACE")
"""These methods select and modify no representation, so that conditions on one mean nothing (section 13.2.1)."""
_METADATA = ("content-encoding", "content-language", "content-length", "content-range", "content-type")
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_OPAQUE = re.compile(r"[\x21\x23-\x7e\x80-\xff]*")
_SEPARATOR = re.compile(r"[ \t,]*")
_RANGE = re.compile(r"[ \t]*([0-9]*)-([0-9]*)[ \t]*")
_HUGE = 10**18
"""Positions of more digits than this count as this one: no representation is longer, and int() of very many digits is
refused by Python."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?:{'|'.join(_DAYS)}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"(?:{'|'.join(_DAYS)}) {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)
"""IMF-fixdate, the date of RFC 850, and that of asctime() in C: a server accepts all three (section 5.6.7)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_FIFTY_YEARS = 50 * 31_556_952
"""In seconds, with the mean year of the Gregorian calendar."""

Range = tuple[int, int]


class Conditions(NamedTuple):
    """The fields of a request that this module reads: the value of each, or None if the request does not have it."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None
    range: str | None = None

    @classmethod
    def from_environ(cls, environ: Mapping[str, Any]) -> Conditions:
        """The fields of a WSGI request."""
        get = environ.get
        return cls(
            get("HTTP_IF_MATCH"),
            get("HTTP_IF_NONE_MATCH"),
            get("HTTP_IF_MODIFIED_SINCE"),
            get("HTTP_IF_UNMODIFIED_SINCE"),
            get("HTTP_IF_RANGE"),
            get("HTTP_RANGE"),
        )


class Outcome(NamedTuple):
    """What :func:`evaluate` decided."""

    status: int
    """200: no condition says otherwise, go on. 206: send :attr:`ranges`. 304, 412: no representation is sent.
    416: no range that was asked for exists; Content-Range then is ``bytes */SIZE``."""
    ranges: tuple[Range, ...] = ()
    """With 206 at least one, in the order of the request; none overlap."""


_GO_ON = Outcome(200)
_NO_CONDITIONS = Conditions()


def evaluate(
    method: str,
    conditions: Conditions,
    *,
    etag: str | None = None,
    last_modified: float | None = None,
    size: int | None = None,
    exists: bool = True,
    now: float | None = None,
) -> Outcome:
    """Decide which response a request gets, in the order of RFC 9110 section 13.2.2.

    :param method: of the request. Only GET has ranges, and only GET and HEAD get a 304.
    :param conditions: of the request.
    :param etag: the ETag of the representation that would be sent; None if it has none.
    :param last_modified: its Last-Modified in seconds since the epoch, fractions dropped; None if it has none.
    :param size: its length in bytes; None if it cannot be sent in ranges, which then are ignored.
    :param exists: whether there is a representation now: ``*`` asks for that. With False nothing else matches.
    :param now: seconds since the epoch of the Date that the response gets; default: the time now.
    :return: one of 200, 206, 304, 412 and 416.
    """
    if conditions == _NO_CONDITIONS or method in _UNCONDITIONAL:
        return _GO_ON
    if not exists:
        etag = last_modified = size = None
    modified = None if last_modified is None else int(last_modified // 1)
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag, exists, weak=False):
            return Outcome(412)
    elif conditions.if_unmodified_since is not None and modified is not None:
        date = parse_date(conditions.if_unmodified_since, now)
        if date is not None and modified > date:
            return Outcome(412)
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag, exists, weak=True):
            return Outcome(304 if method in ("GET", "HEAD") else 412)
    elif conditions.if_modified_since is not None and modified is not None and method in ("GET", "HEAD"):
        date = parse_date(conditions.if_modified_since, now)
        if date is not None and modified <= date:
            return Outcome(304)
    if method != "GET" or conditions.range is None or size is None:
        return _GO_ON
    if conditions.if_range is not None and not _is_unchanged(conditions.if_range, etag, modified, now):
        return _GO_ON
    ranges = parse_ranges(conditions.range, size)
    if ranges is None:
        return _GO_ON
    return Outcome(206, ranges) if ranges else Outcome(416)


def _matches(value: str, etag: str | None, exists: bool, *, weak: bool) -> bool:
    """Whether the value of If-Match or If-None-Match has the tag."""
    if value.strip(" \t") == "*":
        return exists
    if etag is None:
        return False
    match = weak_match if weak else strong_match
    return any(match(tag, etag) for tag in parse_etags(value))


def _is_unchanged(value: str, etag: str | None, modified: int | None, now: float | None) -> bool:
    """Whether an If-Range names the very bytes of the representation (section 13.1.5): weak validators do not.

    A Last-Modified is weak within the second that it names, because a second change in it would not show.
    """
    value = value.strip(" \t")
    if value.startswith(('"', "W/")):
        return etag is not None and parse_etags(value) == (value,) and strong_match(value, etag)
    if modified is None or parse_date(value, now) != modified:
        return False
    return (time.time() if now is None else now) - modified >= 1


# ---- entity tags (section 8.8.3) ----


def make_etag(opaque: str, *, weak: bool = False) -> str:
    """The entity tag of some text.

    :param opaque: visible Latin-1 characters without a double quote and without spaces, such as a hash in hexadecimal.
    :param weak: whether representations with this tag may differ in bytes that do not matter; then it is of no use for
        ranges and If-Match.
    :raises ValueError: for a character that a tag cannot have.
    """
    if not _OPAQUE.fullmatch(opaque):
        raise ValueError(f"an entity tag cannot have a space, a quote, a control character or non-Latin-1: {opaque!r}")
    return f'W/"{opaque}"' if weak else f'"{opaque}"'


def parse_etags(value: str) -> tuple[str, ...]:
    """The tags in a list like that of If-None-Match; an empty tuple for ``*`` and for a list that is malformed.

    A malformed list is not read in part: a client that writes one means something that cannot be known.
    """
    tags = []
    position = _end_of(_SEPARATOR, value, 0)
    while position < len(value):
        match = _ETAG.match(value, position)
        if match is None:
            return ()
        tags.append(match[0])
        position = _end_of(_SEPARATOR, value, match.end())
        if position < len(value) and "," not in value[match.end() : position]:
            return ()
    return tuple(tags)


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Where a pattern that matches the empty string, too, ends."""
    match = pattern.match(text, position)
    assert match is not None, "the pattern matches the empty string"
    return match.end()


def strong_match(one: str, other: str) -> bool:
    """Whether both tags are strong and equal: the bytes are the same (section 8.8.3.2)."""
    return one == other and not one.startswith("W/")


def weak_match(one: str, other: str) -> bool:
    """Whether the tags are equal apart from being weak: one can be used for the other (section 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


# ---- dates (section 5.6.7) ----


def format_date(moment: float) -> str:
    """A time as IMF-fixdate, like ``Sun, 06 Nov 1994 08:49:37 GMT``, in English whatever the locale is.

    :param moment: seconds since the epoch; fractions are dropped.
    :raises ValueError: outside the years 1 to 9999.
    """
    try:
        date = _EPOCH + timedelta(seconds=int(moment // 1))
    except (OverflowError, ValueError):  # ValueError: not a number
        raise ValueError(f"no date of the years 1 to 9999: {moment} seconds since 1970") from None
    return (
        f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} {date.year:04} "
        f"{date.hour:02}:{date.minute:02}:{date.second:02} GMT"
    )


def parse_date(value: str, now: float | None = None) -> int | None:
    """The seconds since the epoch of an HTTP-date in any of its three formats, or None if it is none.

    The name of the day is not compared with the date.

    :param now: decides the century of a date with two digits for the year: the latest that is no more than 50 years in
        the future. Default: the time now.
    """
    value = value.strip(" \t")
    for pattern in _DATES:
        match = pattern.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year = int(match["year"])
    if len(match["year"]) == 4:
        return _seconds(match, year)
    latest = (time.time() if now is None else now) + _FIFTY_YEARS
    century = (_EPOCH + timedelta(seconds=latest)).year // 100 * 100
    moment = _seconds(match, century + year)
    if moment is not None and moment <= latest:
        return moment
    return _seconds(match, century - 100 + year)


def _seconds(match: re.Match[str], year: int) -> int | None:
    """The date of a match in a year; None for one that the calendar does not have. A leap second is the next one."""
    second = int(match["second"])
    if second > 60:
        return None
    try:
        date = datetime(
            year,
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    return (date - _EPOCH) // _SECOND + second


# ---- ranges (section 14) ----


def parse_ranges(value: str, size: int, *, most: int = MAX_RANGES) -> tuple[Range, ...] | None:
    """The ranges of a Range field that a representation has.

    :param value: of the field.
    :param size: bytes of the representation.
    :param most: a field with more ranges is ignored.
    :return: none to send the whole representation: the field is malformed or has another unit than bytes, ranges
        overlap, they are too many, or the representation is empty (a 206 cannot describe that). An empty tuple: the
        representation has none of the ranges, which is a 416.
    """
    unit, equals, specifiers = value.strip(" \t").partition("=")
    if not equals or unit.lower() != "bytes" or not size:
        return None
    texts = specifiers.split(",", 4 * most)  # a list may have empty elements, within reason
    if len(texts) > 4 * most:
        return None
    texts = [text for text in texts if text.strip(" \t")]
    if not texts or len(texts) > most:
        return None
    ranges = []
    for text in texts:
        match = _RANGE.fullmatch(text)
        if match is None:
            return None
        first, last = match.groups()
        if not first and not last:
            return None
        if not first:
            start, stop = max(0, size - _position(last)), size
        elif last and _position(last) < _position(first):
            return None
        else:
            start, stop = _position(first), min(size, _position(last) + 1) if last else size
        if start < size:
            ranges.append((start, stop))
    return tuple(ranges) if not _overlap(ranges) else None


def _position(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else _HUGE


def _overlap(ranges: Iterable[Range]) -> bool:
    end = 0
    for start, stop in sorted(ranges):
        if start < end:
            return True
        end = stop
    return False


# ---- the head of a 304 (section 15.4.5) ----


def retained_in_304(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Those fields of a 200 that the 304 in its place has: all except what describes a body that is not sent.

    :param headers: of the 200. A Last-Modified is left out beside an ETag, which says more.
    """
    headers = list(headers)
    tagged = any(name.lower() == "etag" for name, _ in headers)
    for name, text in headers:
        lower = name.lower()
        if lower not in _METADATA and not (tagged and lower == "last-modified"):
            yield name, text
