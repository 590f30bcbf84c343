"""Nested content becomes bytes in order; escaping leaves ready HTML alone and everything else without markup."""

from __future__ import annotations

import datetime
import subprocess
import sys
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library
from tests.waiting import PATIENCE

Markup = library("markupsafe").Markup

from reserve.desk.content import Fragment, Literal, escape, flatten, literal  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402


def text(content: Any) -> str:
    return b"".join(flatten(content)).decode()


class Bold:
    def __html__(self) -> str:
        return "<b>\u00fc</b>"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\u00fc<b>", "\u00fc<b>"),
        (b"\xc3\xbc", "\u00fc"),
        (bytearray(b"ab"), "ab"),
        (memoryview(b"ab"), "ab"),
        (None, ""),
        (["a", None, "b"], "ab"),
        (5, "5"),
        (True, "True"),
        ([1, 2.5, Decimal("1.20")], "12.51.20"),
        (datetime.date(2026, 12, 31), "2026-12-31"),
        ({"key": "value", "n": [1, 2]}, "key: value\r\nn: 12\r\n"),
        (("a", ["b", ("c", [[["d"]]])], (letter for letter in "ef")), "abcdef"),
        (Bold(), "<b>\u00fc</b>"),
        ([Markup("<i>"), Fragment(["<b>", [1]])], "<i><b>1"),
        ("a\ud800b", "a?b"),
        (range(3), "012"),
        ([], ""),
    ],
)
def test_content_is_flattened(content: Any, expected: str) -> None:
    assert text(content) == expected


def test_there_are_no_empty_pieces_and_nothing_is_joined() -> None:
    assert list(flatten(["a", "", None, [b"", "b"], Fragment(), "c"])) == [b"a", b"b", b"c"]


NESTS = st.recursive(
    st.none() | st.text() | st.binary() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.lists(inner).map(Fragment),
)


def expected_bytes(nest: Any) -> bytes:
    if isinstance(nest, (list, tuple)):
        return b"".join(map(expected_bytes, nest))
    if isinstance(nest, bytes):
        return nest
    return b"" if nest is None else str(nest).encode("utf-8", "replace")


@given(NESTS)
def test_any_nest_is_its_parts_in_order(nest: Any) -> None:
    assert b"".join(flatten(nest)) == expected_bytes(nest)


@given(NESTS)
def test_any_nest_is_without_markup_when_escaped_unless_it_is_ready(nest: Any) -> None:
    def without_fragments(nest: Any) -> Any:
        return [without_fragments(item) for item in nest] if isinstance(nest, (list, tuple)) else nest

    assert not set(text(escape(without_fragments(nest)))) & set("<>\"'")


def test_nests_may_be_deeper_than_the_stack_of_python() -> None:
    nest: Any = "x"
    for _ in range(5000):
        nest = [nest]
    assert text(nest) == "x"


def test_a_list_that_contains_itself_is_an_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="contain itself"):
        list(flatten(circle))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a href='x' title=\"y\">&", "&lt;a href=&#39;x&#39; title=&#34;y&#34;&gt;&amp;"),
        (b"<\xc3\xbc\xff", "&lt;\u00fc\ufffd"),
        (None, ""),
        (1.5, "1.5"),
        (["<", ["<", ("<",)]], "&lt;&lt;&lt;"),
        ((letter for letter in "<>"), "&lt;&gt;"),
        ({"<": [">", 1]}, "&lt;: &gt;1\r\n"),
        (Fragment(["<b>"]), "<b>"),
        ([Fragment(["<b>"]), Markup("<i>"), Bold(), "<"], "<b><i><b>\u00fc</b>&lt;"),
        (ValueError("<script>"), "&lt;script&gt;"),
    ],
)
def test_what_is_not_ready_is_escaped(value: Any, expected: str) -> None:
    assert text(escape(value)) == expected


def test_the_class_of_ready_html_is_no_ready_html() -> None:
    assert text(escape(str(Bold))).startswith("&lt;class")
    assert text(escape(Bold)).startswith("&lt;class")


# ---- what programs do with results ----


def test_a_fragment_is_text_where_text_is_needed() -> None:
    fragment = Template("<b>{x}</b>")(x="<")
    assert f"{fragment}" == "<b>&lt;</b>"
    assert Markup("<i>%s</i>") % fragment == "<i><b>&lt;</b></i>"


@pytest.mark.parametrize(
    "combine",
    [
        lambda fragment, typed: fragment + [typed],  # noqa: RUF005
        lambda fragment, typed: [typed] + fragment,  # noqa: RUF005
        lambda fragment, typed: [*fragment, typed],
        lambda fragment, typed: [fragment, typed],
        lambda fragment, typed: [fragment[0], *fragment[1:], typed],
    ],
)
def test_what_is_added_to_a_fragment_is_escaped_and_the_fragment_is_not(combine: Any) -> None:
    combined = combine(Template("<b>{x}{.y}</b>")(x="&", y="<i>"), "<u>")
    assert sorted(text(escape(combined))) == sorted("<b>&amp;<i></b>&lt;u&gt;")
    assert sorted(text(combined)) == sorted("<b>&amp;<i></b><u>")


def test_lists_grow_by_fragments_and_fragments_by_lists() -> None:
    line = Template("<li>{x}</li>")
    rows: list[Any] = []
    rows += line(x="<")
    rows.extend(line(x=">"))
    assert text(escape(rows)) == "<li>&lt;</li><li>&gt;</li>"
    grown: Any = line(x=1)
    grown += ["<typed>"]
    assert text(escape(grown)) == "<li>1</li>&lt;typed&gt;"


def test_literals_are_bytes_that_are_ready() -> None:
    assert literal("\u00fc") == "\u00fc".encode()
    assert escape(Literal(b"<b>")) == Markup("<b>")


# ---- no markup, whatever the text ----


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.data = ""
        self.others: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.data += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


MARKUP = st.text(st.sampled_from("<>&\"'=/!-?;#x3aA \n`[]{}") | st.characters(exclude_categories=["Cs"]))
PLACES = Template("<p title=\"{x}\"><i title='{x}'>{x}</i></p>")


@given(MARKUP)
def test_no_text_becomes_markup_between_tags_and_in_quoted_attributes(typed: str) -> None:
    page = Page(text(PLACES(x=typed)))
    assert page.tags == [("p", [("title", typed)]), ("i", [("title", typed)])]
    assert page.data == typed
    assert page.others == []


@given(st.lists(MARKUP))
def test_no_list_of_texts_becomes_markup(typed: list[str]) -> None:
    page = Page(text(PLACES(x=typed)))
    assert page.tags == [("p", [("title", "".join(typed))]), ("i", [("title", "".join(typed))])]
    assert page.data == "".join(typed)


# ---- without the library ----


def test_a_missing_library_is_an_error_that_says_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['markupsafe'] = None\n"
        "try:\n"
        "    import reserve.desk\n"
        "except ImportError as error:\n"
        "    print(error.name, error)\n"
    )
    root = str(Path(__file__).parent.parent.parent)
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "MarkupSafe" in done.stdout
    assert "pip install 'reserve[desk]'" in done.stdout
