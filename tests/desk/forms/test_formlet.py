"""Formlets: GET shows the record, POST saves it or shows again what was typed, with the messages."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Callable
from types import SimpleNamespace
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
from reserve.desk.request import Request  # noqa: E402
from reserve.desk.router import Router  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402

PAGE = Template("{errors}|{title}|{priority}|{due}")
ELEMENTS = {
    "title": forms.Entry(),
    "priority": forms.Pick(forms.EnumLens(["High", "Low"], base=1), required="is needed."),
    "due": forms.Entry(type="date", lens=forms.DATE),
}


class TaskForm(forms.Formlet):
    def __init__(self, native: Any = None, save: Callable[[dict[str, Any]], Any] | None = None) -> None:
        super().__init__(ELEMENTS)
        self.native = native
        self.saving = save
        self.saved: dict[str, Any] | None = None

    def get_native(self) -> Any:
        return self.native

    def display(self, fields: dict[str, Any], errors: dict[str, Any]) -> Any:
        self.errors = errors
        return PAGE(errors=errors, **fields)

    def semantic_checks(self, native: dict[str, Any], errors: dict[str, Any]) -> None:
        if native["due"] == datetime.date(2026, 1, 1):
            errors["due"] = "is a holiday."

    def save(self, native: dict[str, Any], request: Any) -> Any:
        assert request is self.request
        if self.saving is not None:
            self.saving(native)
        self.saved = native
        return "saved"


def text(content: Content) -> str:
    return b"".join(flatten(content)).decode()


def request(**fields: str) -> Any:
    return SimpleNamespace(POST=Bag(fields))


GOOD = {"title": "Rest", "priority": "1", "due": "2026-01-02"}
EMPTY = (
    '|<input type="text" name="title" value=""/>'
    '|<select name="priority"><option value=""></option><option value="0">High</option><option value="1">Low</option>'
    '</select>|<input type="date" name="due" value=""/>'
)


@pytest.mark.parametrize("native", [None, {}, {"other": 1}])
def test_get_shows_an_empty_form(native: Any) -> None:
    assert text(TaskForm(native).do_GET(request())) == EMPTY


def test_get_shows_the_record() -> None:
    page = text(TaskForm({"title": "<x>", "priority": 2, "due": datetime.date(2026, 1, 2)}).do_GET(request()))
    assert 'value="&lt;x&gt;"' in page
    assert "<option selected" in page
    assert 'value="2026-01-02"' in page


def test_head_is_like_get_also_that_of_a_subclass() -> None:
    class Other(TaskForm):
        def do_GET(self, request: Any) -> Any:
            return "other"

    assert text(TaskForm({}).do_HEAD(request())) == EMPTY
    assert Other().do_HEAD(request()) == "other"


def test_a_row_of_sqlite_may_lack_columns() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row = connection.execute("select 'Rest' as title").fetchone()
    connection.close()
    assert text(TaskForm(row).do_GET(request())) == EMPTY.replace('value=""/>|', 'value="Rest"/>|', 1)


def test_post_saves_good_values() -> None:
    form = TaskForm()
    assert form.do_POST(request(**GOOD)) == "saved"
    assert form.saved == {"title": "Rest", "priority": 2, "due": datetime.date(2026, 1, 2)}


def test_post_shows_again_what_was_typed_with_a_message_for_each_mistake() -> None:
    form = TaskForm({"title": "of the record"})
    page = text(form.do_POST(request(title="  ", priority="7", due="<soon>")))
    assert form.saved is None
    assert form.errors == {
        "title": "may not be blank.",
        "priority": "is none of the choices.",
        "due": "is not a date as in 2026-12-31.",
    }
    assert 'name="title" value="  "' in page
    assert 'value="&lt;soon&gt;"' in page
    assert "of the record" not in page


def test_post_without_any_field_is_an_empty_form_with_messages() -> None:
    form = TaskForm()
    page = text(form.do_POST(request()))
    assert form.errors == {"title": "may not be blank.", "priority": "is needed."}
    assert page.endswith(EMPTY)


def test_the_checks_of_the_record_come_after_those_of_the_fields() -> None:
    form = TaskForm()
    assert 'value="Rest"' in text(form.do_POST(request(**{**GOOD, "due": "2026-01-01"})))
    assert form.errors == {"due": "is a holiday."}
    form.do_POST(request(**{**GOOD, "due": "2026-01-01", "title": ""}))
    assert form.errors == {"title": "may not be blank."}
    assert form.saved is None


@pytest.mark.parametrize(
    ("error", "messages"),
    [
        (forms.SaveError({"title": "is taken."}), {"title": "is taken."}),
        (forms.SaveError("The disk is full."), {"": "The disk is full."}),
        (forms.SaveError(), {"": "This could not be saved."}),
        (forms.SaveError({}), {"": "This could not be saved."}),
        (forms.ValidationError("is taken."), {"": "is taken."}),
    ],
)
def test_what_cannot_be_saved_is_shown_again(error: Exception, messages: dict[str, str]) -> None:
    def save(native: dict[str, Any]) -> None:
        raise error

    form = TaskForm(save=save)
    assert 'value="Rest"' in text(form.do_POST(request(**GOOD)))
    assert form.errors == messages
    assert form.saved is None


def test_a_validation_error_may_be_without_a_message_or_have_html() -> None:
    class Picky(forms.StringLens):
        def native_from_string(self, s: str) -> Any:
            raise forms.ValidationError(*([forms.tag("b", {}, "no")] if s else []))

    class Form(TaskForm):
        def __init__(self) -> None:
            super().__init__()
            self.elements = {**ELEMENTS, "title": forms.Entry(lens=Picky())}

    form = Form()
    form.do_POST(request(**{**GOOD, "title": ""}))
    assert form.errors == {"title": "is not valid."}
    assert "title: <b>no</b>\r\n|" in text(form.do_POST(request(**GOOD)))


def test_a_router_serves_a_formlet() -> None:
    app = Router()
    app.servlet("/task/*")(TaskForm)

    def ask(method: str, payload: bytes | None = None, **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return app(Request(method, "/task/Rest", "HTTP/1.1", fields, payload))

    urlencoded = b"title=%C3%BC%3C&priority=0&due=never"
    boundary = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    multipart = b"".join(boundary % field for field in ((b"title", b"\xc3\xbc"), (b"priority", b"0"))) + b"--B--\r\n"
    shown = text(ask("POST", urlencoded, content_type="application/x-www-form-urlencoded"))
    assert 'name="title" value="\u00fc&lt;"' in shown
    assert 'name="due" value="never"' in shown
    assert ask("POST", multipart, content_type="multipart/form-data; boundary=B") == "saved"


def test_an_element_of_the_program_returns_html() -> None:
    class Stars(forms.Pick):
        def i2h(self, name: str, intermediate: Any) -> Any:
            return ["<meter>", ("*",), "</meter>"]

    class Form(TaskForm):
        def __init__(self) -> None:
            super().__init__()
            self.elements = {**ELEMENTS, "priority": Stars(forms.ListLens(["A"]))}

    assert "|<meter>*</meter>|" in text(Form().do_GET(request()))


def test_a_str_that_an_element_returns_is_text() -> None:
    class Shown(forms.Entry):
        def i2h(self, name: str, intermediate: Any) -> Any:
            return str(intermediate)

    class Form(TaskForm):
        def __init__(self) -> None:
            super().__init__()
            self.elements = {**ELEMENTS, "title": Shown(lens=forms.BLANKABLE)}

    assert "&lt;b&gt;" in text(Form().do_POST(request(title="<b>", priority="")))


VALUES = st.text() | st.builds(FileUpload, st.text(), st.text(), st.binary())


@given(st.lists(st.tuples(st.sampled_from([*ELEMENTS, "tags", "memo", "file", "other"]), VALUES)))
def test_no_post_is_an_error_of_the_program(pairs: list[tuple[str, Any]]) -> None:
    class Form(TaskForm):
        def __init__(self) -> None:
            super().__init__()
            self.elements = {
                **ELEMENTS,
                "tags": forms.Pick(forms.ListLens(["A", "B"]), multiple=True),
                "memo": forms.Memo(lens=forms.NULLABLE, maxlength=5),
                "file": forms.Entry(type="file", lens=forms.BLANKABLE),
            }

    form = Form()
    text(form.do_POST(SimpleNamespace(POST=Bag(pairs))))  # type: ignore[arg-type]
    assert bool(form.saved) != bool(getattr(form, "errors", None))


def test_other_errors_are_those_of_the_program() -> None:
    def save(native: dict[str, Any]) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        TaskForm(save=save).do_POST(request(**GOOD))


@pytest.mark.parametrize(("method", "arguments"), [("get_native", ()), ("display", ({}, {})), ("save", ({}, None))])
def test_the_base_class_says_which_method_is_missing(method: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NotImplementedError, match=method):
        getattr(forms.Formlet({}), method)(*arguments)
