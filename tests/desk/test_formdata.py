"""Forms: both encodings, what is malformed and where, and the limits."""

from __future__ import annotations

import contextlib
import tracemalloc
from unittest import mock
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk.formdata import (  # noqa: E402
    MAX_PART_HEADER_BYTES,
    FileUpload,
    ProtocolError,
    parse_form,
    parse_query,
)

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XyZ"


def body(*parts: bytes, end: bytes = b"--XyZ--\r\n") -> bytes:
    return b"".join(b"--XyZ\r\n" + part + b"\r\n" for part in parts) + end


def part(disposition: bytes, content: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"Content-Disposition: " + disposition, *headers, b"", content])


# ---- urlencoded ----


def test_an_urlencoded_form_is_utf_8_and_keeps_empty_values() -> None:
    pairs = parse_form(URLENCODED, b"a=B%C3%BCro+%26&b=&a=2&c")
    assert pairs == [("a", "B\u00fcro &"), ("b", ""), ("a", "2"), ("c", "")]


@pytest.mark.parametrize("content_type", [f"{URLENCODED}; charset=UTF-8", URLENCODED.upper(), f"{URLENCODED} ;x=y"])
def test_the_content_type_may_have_parameters_and_any_case(content_type: str) -> None:
    assert parse_form(content_type, b"a=1") == [("a", "1")]


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert parse_form(URLENCODED, b"a=%FF&b=\xff") == [("a", "\ufffd"), ("b", "\ufffd")]


@pytest.mark.parametrize("content_type", [None, "", "text/plain", "application/json", "multipart/mixed; boundary=x"])
def test_other_bodies_are_no_form(content_type: str | None) -> None:
    assert parse_form(content_type, b"a=1") is None


ESCAPES = st.sampled_from(
    ["%", "%4", "%41", "%c3%BC", "%3D", "=", "+", "\r\n", "\n", "\xfc", "\U0001d11e", "_", ".", "g"]
)


@given(st.lists(ESCAPES), st.lists(ESCAPES), st.integers(3, 9))
def test_escapes_are_those_of_urllib(name: list[str], value: list[str], piece: int) -> None:
    names, values = "".join(name).replace("=", ""), "".join(value)
    with mock.patch("reserve.desk.formdata._PIECE", piece):
        pairs = parse_query(f"&{names}={values}&&")
    assert pairs == [(unquote_plus(names), unquote_plus(values))]


@pytest.mark.parametrize("text", [b"%", b"%41", b"%z", b"%41a", b"+", b"="])
def test_a_long_value_needs_little_memory_beside_its_own(text: bytes) -> None:
    payload = text * (4_000_000 // len(text))
    tracemalloc.start()
    try:
        parse_form(URLENCODED, payload)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(payload)
    finally:
        tracemalloc.stop()


def test_the_number_of_fields_is_limited() -> None:
    assert len(parse_query("&".join(["a=1"] * 5), max_fields=5)) == 5
    with pytest.raises(ProtocolError, match="more than 5 fields") as caught:
        parse_form(URLENCODED, b"&".join([b"a=1"] * 6), max_fields=5)
    assert caught.value.code == 413


# ---- multipart ----


def test_a_multipart_form_has_texts_and_files() -> None:
    payload = body(
        part(b'form-data; name="title"', "B\u00fcro".encode()),
        part(b'form-data; name="photo"; filename="a b.png"', b"\x00\r\n--Xy\xff", b"Content-Type: image/png"),
        part(b'form-data; name="photo"; filename=""', b"", b"Content-Type: application/octet-stream"),
        part(b'form-data; name="plain"; filename="x"', b"y"),
    )
    assert parse_form(MULTIPART, payload) == [
        ("title", "B\u00fcro"),
        ("photo", FileUpload("a b.png", "image/png", b"\x00\r\n--Xy\xff")),
        ("photo", FileUpload("", "application/octet-stream", b"")),
        ("plain", FileUpload("x", "application/octet-stream", b"y")),
    ]


def test_names_are_utf_8_and_headers_have_no_case() -> None:
    payload = body(b'content-disposition: form-data; name="gr\xc3\xbc\xc3\x9fe"\r\n\r\nx')
    assert parse_form("Multipart/Form-Data; boundary=XyZ", payload) == [("gr\u00fc\u00dfe", "x")]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (b"../../etc/passwd", "passwd"),
        (b"C:\\\\Users\\\\me\\\\a.txt", "a.txt"),
        (b"folder/a.txt", "a.txt"),
        (b"..", ""),
        (b".", ""),
        (b"a\tb\x00c\x7f", "abc"),
        ("\u00fc.txt".encode(), "\u00fc.txt"),
        (b"a;b.txt", "a;b.txt"),
        (b"a%22b%25.txt", 'a"b%25.txt'),
    ],
)
def test_the_name_of_a_file_has_no_folder(given: bytes, name: str) -> None:
    [(_, upload)] = parse_form(MULTIPART, body(part(b'form-data; name="f"; filename="' + given + b'"', b""))) or []
    assert isinstance(upload, FileUpload)
    assert upload.filename == name


def test_the_type_of_a_file_has_no_control_characters() -> None:
    (_, upload), *_ = (
        parse_form(MULTIPART, body(part(b'form-data; name="a"; filename="b"', b"", b"Content-Type: a/b\0c"))) or []
    )
    assert upload == FileUpload("b", "a/bc", b"")


def test_a_form_without_fields_is_empty() -> None:
    assert parse_form(MULTIPART, body()) == []


def test_text_before_the_first_part_and_after_the_last_does_not_count() -> None:
    payload = b"preamble\r\n" + body(part(b'form-data; name="a"', b"1")) + b"epilogue\r\n--XyZ\r\n"
    assert parse_form(MULTIPART, payload) == [("a", "1")]


FIRST = part(b'form-data; name="first"', b"1")


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (body(FIRST, b"Content-Type: text/plain\r\n\r\nx"), r"Part 2 of .*Content-Disposition"),
        (body(FIRST, b"\r\nx"), "Part 2 of .*Content-Disposition"),
        (body(FIRST, part(b"form-data", b"x")), "Part 2 of .*Content-Disposition"),
        (body(FIRST, part(b'attachment; name="a"', b"x")), "Part 2 of .*Content-Disposition"),
        (body(FIRST, part(b'form-data; name="photo"', b"x"), end=b""), r"Part 2 \('photo'\) .*ends within it"),
        (body(FIRST, part(b'form-data; name="photo"', b"x"))[:-5], r"Part 2 \('photo'\) .*ends within it"),
        (body(FIRST, b"Content-Disp"), "Part 2 of"),
        (body(part(b'form-data; name="a\nb"', b"x"), end=b""), r"Part 1 \('a\\nb'\)"),  # no line of its own in a log
        (body(FIRST, b"Bad Header: x\r\n\r\n"), "Part 2 of"),
        (body(FIRST, part(b'form-data; name="a"', b"x", b"Content-Disposition: form-data")), "Part 2 of .*twice"),
        (body(part(b'form-data; name="a"', b"eA==", b"Content-Transfer-Encoding: base64")), r"Part 1 \('a'\)"),
        (body(part(b'form-data; name="a"', b"", *[b"X%d: y" % n for n in range(17)])), "Part 1 of"),
        (body(part(b'form-data; name="a"', b"", b"X: " + b"y" * MAX_PART_HEADER_BYTES)), "Part 1 of"),
        (b"", "is empty"),
        (b"no boundary in here", "no part"),
        (b"--XyZjunk\r\n\r\n", "Part 1 of"),
        (b"--Xy", "no part"),
    ],
)
def test_what_is_malformed_names_the_part(payload: bytes, named: str) -> None:
    with pytest.raises(ProtocolError, match=named) as caught:
        parse_form(MULTIPART, payload)
    assert caught.value.code == 400


@pytest.mark.parametrize("options", ["", "; boundary=", f"; boundary={'x' * 71}", '; boundary=""'])
def test_a_boundary_is_needed(options: str) -> None:
    with pytest.raises(ProtocolError, match="boundary"):
        parse_form(f"multipart/form-data{options}", b"x")


def test_the_number_of_parts_is_limited() -> None:
    payload = body(*[part(b'form-data; name="a"', b"1")] * 5)
    assert len(parse_form(MULTIPART, payload, max_fields=5) or []) == 5
    with pytest.raises(ProtocolError, match="more than 4 parts") as caught:
        parse_form(MULTIPART, payload, max_fields=4)
    assert caught.value.code == 413


def test_delimiters_that_are_none_cost_no_time() -> None:
    """The parser would step through each of them in Python: 6 seconds for 10 MB on a fast machine."""
    near = b"\r\n--x" * 400_000
    payload = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + near + b"\r\n--x--\r\n"
    with pytest.raises(ProtocolError, match="more than 10000 parts"):
        parse_form("multipart/form-data; boundary=x", payload)


@given(st.lists(st.tuples(st.text(), st.binary())))
def test_any_contents_come_back(fields: list[tuple[str, bytes]]) -> None:
    contents = [content.replace(b"--XyZ", b"") for _, content in fields]
    payload = body(*[part(b'form-data; name="f"; filename="f"', content) for content in contents])
    pairs = parse_form(MULTIPART, payload) or []
    assert [value.content for _, value in pairs if isinstance(value, FileUpload)] == contents


@given(st.binary())
def test_any_bytes_are_a_form_or_an_error(payload: bytes) -> None:
    for content_type in (URLENCODED, MULTIPART):
        for given_bytes in (payload, b"--XyZ\r\n" + payload, body(payload)):
            with contextlib.suppress(ProtocolError):
                assert isinstance(parse_form(content_type, given_bytes), list)
