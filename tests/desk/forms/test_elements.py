"""Form elements: HTML from values, values from what a browser sends, and from what none would send."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

from reserve.desk import forms  # noqa: E402
from reserve.desk.bag import Bag  # noqa: E402
from reserve.desk.content import Content, flatten  # noqa: E402
from reserve.desk.formdata import FileUpload  # noqa: E402

ENUM = forms.EnumLens(["High", "L<w"], base=1)


def text(content: Content) -> str:
    return b"".join(flatten(content)).decode()


def shown(element: forms.FormElement, value: Any) -> str:
    return text(element.i2h("f", element.n2i(value)))


def read(element: forms.FormElement, *values: Any) -> Any:
    return element.i2n(element.p2i("f", Bag([("f", value) for value in values])))


# ---- Entry ----


@pytest.mark.parametrize(
    ("attributes", "value", "expected"),
    [
        ({}, None, '<input type="text" name="f" value=""/>'),
        ({}, "a\"<'", '<input type="text" name="f" value="a&#34;&lt;&#39;"/>'),
        ({"type": "date", "lens": forms.DATE}, None, '<input type="date" name="f" value=""/>'),
        (
            {"_class": "wide", "maxlength": 3, "required": None},
            5,
            '<input type="text" class="wide" maxlength="3" required name="f" value="5"/>',
        ),
        ({"name": "other", "value": "other"}, "x", '<input type="text" name="f" value="x"/>'),
        ({"type": "file"}, "x", '<input type="file" name="f"/>'),
    ],
)
def test_an_entry_is_an_input(attributes: dict[str, Any], value: Any, expected: str) -> None:
    assert shown(forms.Entry(**attributes), value) == expected


def test_what_was_typed_is_shown_again_as_it_was() -> None:
    entry = forms.Entry(lens=forms.DATE)
    typed = entry.p2i("f", Bag({"f": ' 30 "Feb" '}))
    with pytest.raises(forms.ValidationError):
        entry.i2n(typed)
    assert text(entry.i2h("f", typed)) == '<input type="text" name="f" value=" 30 &#34;Feb&#34; "/>'


def test_an_entry_may_be_missing_or_be_sent_twice_or_as_a_file() -> None:
    entry = forms.Entry(lens=forms.BLANKABLE)
    assert read(entry) == ""
    assert read(entry, "a", "b") == "b"
    assert read(entry, FileUpload("name.txt", "text/plain", b"content")) == ""


def test_an_entry_of_the_type_file_gives_the_upload() -> None:
    upload = FileUpload("name.txt", "text/plain", b"content")
    assert read(forms.Entry(type="file"), upload) is upload
    nameless = FileUpload("", "text/plain", b"content")
    assert read(forms.Entry(type="file"), nameless) is nameless
    assert read(forms.Entry(type="FILE", lens=forms.NULLABLE, maxlength=3), upload) is upload


@pytest.mark.parametrize("sent", [[], [""], ["name.txt"], [FileUpload("", "application/octet-stream", b"")]])
def test_no_file_is_blank(sent: list[Any]) -> None:
    assert read(forms.Entry(type="file", lens=forms.NULLABLE), *sent) is None
    assert read(forms.Entry(type="file", lens=forms.BLANKABLE), *sent) == ""
    with pytest.raises(forms.ValidationError, match="blank"):
        read(forms.Entry(type="file"), *sent)


def test_the_maximum_length_is_enforced() -> None:
    entry = forms.Entry(maxlength="3")
    assert entry.maxlength == 3
    assert read(entry, "abcd") == "abc"
    assert read(entry, "abc") == "abc"
    with pytest.raises(ValueError, match="many"):
        forms.Entry(maxlength="many")


# ---- Memo ----


@pytest.mark.parametrize(
    ("value", "inner"),
    [
        (None, ""),
        ("</textarea><script>", "&lt;/textarea&gt;&lt;script&gt;"),
        ("a\r\nb", "a\r\nb"),
        ("\nfirst line is empty", "\n\nfirst line is empty"),
        ("\r\nfirst", "\n\r\nfirst"),
    ],
)
def test_a_memo_is_a_textarea(value: Any, inner: str) -> None:
    memo = forms.Memo(lens=forms.BLANKABLE, style="width:100%", _class="w")
    assert shown(memo, value) == f'<textarea style="width:100%" class="w" name="f">{inner}</textarea>'


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("a\r\nb\r\nc", "a\r\nb\r\nc"), ("a\r\nb\r\ncd", "a\r\nb\r\nc"), ("abcdef", "abcde"), ("abcde", "abcde")],
)
def test_a_line_end_counts_as_one_character_of_a_memo(typed: str, kept: str) -> None:
    assert read(forms.Memo(maxlength=5), typed) == kept


# ---- Pick ----

HIGH = '<option value="0">High</option>'
LOW = '<option value="1">L&lt;w</option>'
BLANK = '<option value=""></option>'


def chosen(option: str) -> str:
    return option.replace("<option", "<option selected")


@pytest.mark.parametrize(
    ("required", "value", "options"),
    [
        ("", None, BLANK + HIGH + LOW),
        ("", 2, BLANK + HIGH + chosen(LOW)),
        ("needed", None, BLANK + HIGH + LOW),
        ("needed", 1, chosen(HIGH) + LOW),
        ("needed", 7, BLANK + HIGH + LOW),  # else the browser would choose the first
        ("needed", "text", BLANK + HIGH + LOW),
    ],
)
def test_a_pick_is_a_select(required: str, value: Any, options: str) -> None:
    pick = forms.Pick(ENUM, required=required, _class="c")
    assert shown(pick, value) == f'<select class="c" name="f">{options}</select>'


@pytest.mark.parametrize(("value", "options"), [(None, HIGH + LOW), ([], HIGH + LOW), ({2}, HIGH + chosen(LOW))])
def test_a_multiple_pick_is_a_select(value: Any, options: str) -> None:
    assert shown(forms.Pick(ENUM, multiple=True), value) == f'<select multiple="" name="f">{options}</select>'


def test_what_was_picked_is_read() -> None:
    assert read(forms.Pick(ENUM), "1") == 2
    assert read(forms.Pick(ENUM), "") is None
    assert read(forms.Pick(ENUM, multiple=True), "0", "1", "1") == {1, 2}
    assert read(forms.Pick(forms.ListLens(["A", "B"]), multiple=True), "B") == {"B"}


def test_a_browser_may_send_nothing_for_a_pick() -> None:
    assert read(forms.Pick(ENUM)) is None
    assert read(forms.Pick(ENUM, multiple=True)) == set()
    assert read(forms.Pick(ENUM, multiple=True), "") == set()
    for multiple in (False, True):
        for values in ([], [""]):
            with pytest.raises(forms.ValidationError, match="needed"):
                read(forms.Pick(ENUM, required="needed", multiple=multiple), *values)


def test_what_was_not_offered_is_refused_and_shown_again_without_it() -> None:
    for multiple in (False, True):
        pick = forms.Pick(ENUM, multiple=multiple)
        typed = pick.p2i("f", Bag({"f": "<9>"}))
        with pytest.raises(forms.ValidationError, match="none of the choices"):
            pick.i2n(typed)
        assert "9" not in text(pick.i2h("f", typed))


def test_files_are_no_choices() -> None:
    assert read(forms.Pick(ENUM), FileUpload("name", "type", b"")) is None
    assert read(forms.Pick(ENUM, multiple=True), FileUpload("name", "type", b""), "0") == {1}


def test_a_lens_of_the_program_may_have_other_texts() -> None:
    class Colors(forms.ChoiceLens):
        def string_pairs(self) -> Any:
            return [(1, "R&D"), ('"', "quote")]

        def string_for_browser(self, n: Any) -> Any:
            return n

        def native_from_string(self, s: str) -> Any:
            return s

    assert shown(forms.Pick(Colors(), required="x"), 1) == (
        '<select name="f"><option selected value="1">R&amp;D</option><option value="&#34;">quote</option></select>'
    )


def test_multiple_is_a_parameter_of_its_own() -> None:
    with pytest.raises(TypeError, match="multiple=True"):
        forms.Pick(ENUM, Multiple="")
    with pytest.raises(TypeError, match="multiple=True"):
        forms.Pick(ENUM, _multiple="")


# ---- all ----


@pytest.mark.parametrize("method", ["n2i", "p2i", "i2h", "i2n"])
def test_the_base_class_says_which_method_is_missing(method: str) -> None:
    with pytest.raises(NotImplementedError, match=method):
        getattr(forms.FormElement(), method)(*["x"] * (2 if method in ("p2i", "i2h") else 1))


class Values(HTMLParser):
    """What a browser would send back for the elements of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.value: str | None = None
        self.inner = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.value = dict(attrs).get("value", self.value)

    def handle_data(self, data: str) -> None:
        self.inner += data


@given(st.text(st.sampled_from("<>&\"'=/ \r\nab;#-!") | st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_the_page_as_it_was(typed: str) -> None:
    entry, memo = forms.Entry(lens=forms.BLANKABLE), forms.Memo(lens=forms.BLANKABLE)
    page = Values(text(entry.i2h("f", entry.p2i("f", Bag({"f": typed})))))
    assert (page.tags, page.value) == (["input"], typed)
    page = Values(text(memo.i2h("f", memo.p2i("f", Bag({"f": typed})))))
    inner = re.sub("\r\n?", "\n", page.inner)
    assert page.tags == ["textarea"]
    assert inner.removeprefix("\n") == re.sub("\r\n?", "\n", typed)  # as browsers drop the first line end
