"""The parser of multipart/form-data: examples, rules, limits, and random bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.examples.blog.multipart import MAX_HEADER, MAX_PARTS, MultipartError, Part, boundary_of, parse

BOUNDARY = b"x-7"


def write(parts: list[Part], boundary: bytes = BOUNDARY) -> bytes:
    """Return the body with these parts."""
    written = []
    for part in parts:
        file = "" if part.filename is None else f'; filename="{escaped(part.filename)}"'
        head = f'Content-Disposition: form-data; name="{escaped(part.name)}"{file}'
        written.append(b"--" + boundary + b"\r\n" + head.encode() + b"\r\n\r\n" + part.content + b"\r\n")
    return b"".join(written) + b"--" + boundary + b"--\r\n"


def escaped(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# Browsers do not escape a percent sign, so a name with "%22" in it looks the same as one with a quotation mark.
names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="%"), max_size=30)
contents = st.one_of(
    st.binary(max_size=200),
    st.lists(st.sampled_from([b"\r", b"\n", b"-", b"x-7", b"\r\n--", b"\r\n--x-", b"a"])).map(b"".join),
).filter(lambda content: b"\r\n--" + BOUNDARY not in b"\r\n" + content)


@given(st.lists(st.builds(Part, name=names, filename=st.none() | names, content=contents), max_size=6))
def test_parse_returns_the_parts_that_were_written(parts):
    body = write(parts)
    assert parse(body, BOUNDARY) == parts
    assert parse(b"preamble\r\n" + body + b"epilogue\r\n--x-7\r\n", BOUNDARY) == parts


@given(
    st.lists(st.builds(Part, name=names, filename=st.none() | names, content=contents), min_size=1, max_size=3),
    st.data(),
)
def test_a_truncated_body_is_an_error(parts, data):
    body = write(parts)
    length = data.draw(st.integers(0, len(body) - len(b"--\r\n")))
    with pytest.raises(MultipartError):
        parse(body[:length], BOUNDARY)


pieces = st.sampled_from(
    [
        b"--x-7",
        b"--",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Disposition: form-data; name=a",
        b'; filename="',
        b"x-7",
        b":",
        b" ",
        b"\xff",
        b"a",
    ]
)


@given(st.one_of(st.binary(), st.lists(pieces, max_size=30).map(b"".join)))
def test_any_bytes_give_parts_or_a_multipart_error(body):
    try:
        parts = parse(body, BOUNDARY)
    except MultipartError:
        return
    assert all(b"\r\n--" + BOUNDARY not in part.content for part in parts)
    assert sum(len(part.content) for part in parts) < len(body)


@given(st.one_of(st.text(), st.text().map("multipart/form-data; boundary={}".format)))
def test_any_content_type_gives_a_boundary_or_a_multipart_error(content_type):
    try:
        boundary = boundary_of(content_type)
    except MultipartError:
        return
    assert 1 <= len(boundary) <= 70


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ("Multipart/Form-Data;BOUNDARY=abc", b"abc"),
        ('multipart/form-data; charset=utf-8; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_boundary_of_returns_the_boundary(content_type, boundary):
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="ends "',
        'multipart/form-data; boundary="open',
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary=x y",
        "multipart/form-data; boundary=" + "x" * 71,
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/form-data; boundary=\xe9",
    ],
)
def test_a_wrong_boundary_is_an_error(content_type):
    with pytest.raises(MultipartError):
        boundary_of(content_type)


def one(head: bytes, content: bytes = b"c") -> bytes:
    """Return a body of one part with this header."""
    return b"--x-7\r\n" + head + b"\r\n\r\n" + content + b"\r\n--x-7--"


def test_an_empty_part_may_share_its_line_end_with_the_delimiter():
    body = b'--x-7\r\nContent-Disposition: form-data; name="a"\r\n\r\n--x-7--'
    assert parse(body, BOUNDARY) == [Part(name="a", filename=None, content=b"")]


def test_blanks_after_a_boundary_and_other_fields_are_accepted():
    body = b"--x-7 \t\r\ncontent-type: a/b\r\nCONTENT-DISPOSITION:Form-Data ; Name=a ;filename=f\r\n\r\nc\r\n--x-7--"
    assert parse(body, BOUNDARY) == [Part(name="a", filename="f", content=b"c")]


def test_a_backslash_in_a_name_has_no_special_meaning():
    assert parse(one(rb'Content-Disposition: form-data; name="p"; filename="C:\a\"'), BOUNDARY)[0].filename == "C:\\a\\"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "first boundary"),
        (b"--x-8--", "first boundary"),
        (b"--x-7", "boundary line"),
        (b"--x-77\r\n", "something else"),
        (b"--x-7\r\nA: b\r\n", "over 4096"),
        (one(b"A: b"), "no Content-Disposition"),
        (one(b"no colon"), "without a field name"),
        (one(b"bad name: x"), "without a field name"),
        (one(b": x"), "without a field name"),
        (one(b"A: b\r\n folded"), "without a field name"),
        (one(b"Content-Disposition: form-data"), "with a name"),
        (one(b"Content-Disposition: attachment; name=a"), "no Content-Disposition: form-data"),
        (one(b"Content-Disposition: form-data; name=a; name=b"), "appears twice"),
        (one(b"Content-Disposition: form-data; name=a\r\ncontent-disposition: form-data; name=b"), "twice"),
        (one(b'Content-Disposition: form-data; name="a'), "malformed"),
        (one(b"Content-Disposition: form-data; name=\xff"), "not UTF-8"),
        (one(b"Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64"), "Transfer-Encoding"),
        (one(b"Content-Disposition: form-data; name=a")[:-7], "last boundary"),
    ],
)
def test_the_error_for_a_malformed_body_names_the_reason(body, message):
    with pytest.raises(MultipartError, match=message):
        parse(body, BOUNDARY)


def test_the_limits_are_exact():
    part = Part(name="a", filename=None, content=b"")
    assert len(parse(write([part] * MAX_PARTS), BOUNDARY)) == MAX_PARTS
    with pytest.raises(MultipartError, match=f"more than {MAX_PARTS} parts"):
        parse(write([part] * (MAX_PARTS + 1)), BOUNDARY)
    head = b"Content-Disposition: form-data; name="
    longest = MAX_HEADER - len(head) - len(b"\r\n\r\n")
    assert len(parse(one(head + b"n" * longest), BOUNDARY)[0].name) == longest
    with pytest.raises(MultipartError, match=f"over {MAX_HEADER} bytes"):
        parse(one(head + b"n" * (longest + 1)), BOUNDARY)
