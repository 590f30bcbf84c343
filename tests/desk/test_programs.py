"""One program as it is written for the interface that desk follows: unusual in each of its parts, but allowed there."""

from __future__ import annotations

import contextlib
import functools
import html
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.desk.wsgicalls import ask
from tests.extras import library

library("markupsafe")
library("python_multipart")
library("itsdangerous")

from reserve.desk import (  # noqa: E402
    Application,
    Request,
    Response,
    Router,
    StaticFolder,
    Template,
    TemplateFolder,
    forms,
    implementation,
)

Handle = Callable[[Request], Any]


class Counting(Router):
    """Has everything below /app, and puts the number of its calls before each page."""

    def delegate(self, where: str, handler: Handle) -> None:
        calls = iter(range(1, 1000))

        def counted(request: Request) -> Any:
            result = handler(request)
            return result if isinstance(result, Response) else [next(calls), ":", result]

        super().delegate(f"/app{where}", counted)


class Json(Response):
    def __init__(self, value: object) -> None:
        super().__init__(json.dumps(value), headers={"Content-Type": "application/json", "X-Number": 5})  # type: ignore


class Shout(implementation.AbstractTemplate):
    def sub(self, parameters: Any) -> Any:
        return ["<b>", html.escape(parameters["word"].upper()), b"</b>"]


class Checkbox(forms.FormElement):
    def n2i(self, value: Any) -> Any:
        return bool(value)

    def p2i(self, name: str, POST: implementation.Bag) -> Any:
        return name in POST

    def i2h(self, name: str, intermediate: Any) -> Any:
        return ['<input type="checkbox" name="', name, '"', [" checked"] if intermediate else [], ">"]

    def i2n(self, intermediate: Any) -> Any:
        return intermediate


def with_table(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*arguments: Any, **keywords: Any) -> Any:
        return function("table", *arguments, **keywords)

    return inner


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


@pytest.fixture
def program(tmp_path: Path, connection: sqlite3.Connection) -> Handle:
    (tmp_path / "page.tpl").write_text("<h1>{title}</h1>{body}")
    (tmp_path / "list.tpl").write_text("<loop>{caption} <?begin?>[{name}] <?else?>none</loop>")
    (tmp_path / "all.tpl").write_text("<extend>page <?title?>All {what} <?body?>{.rows}</extend>")
    folder = TemplateFolder(tmp_path)
    app = Counting()

    @app.function("/all")
    def all_names(where: str = "1") -> Any:
        cursor = connection.execute(f"select '<a>' as name where {where}")
        return folder("all")(what="&", rows=folder("list").loop(cursor, {"caption": "Names"}))

    @app.function("/row/*")
    @with_table
    def row(table: str, number: str, color: str = "red") -> Iterator[Any]:
        yield table, int(number)
        yield {"color": color}

    @app.function("/json")
    def data() -> Response:
        return Json([1, "\xfc"])

    @app.function("/shout")
    def shout() -> Any:
        inner = Template("{said}, {.raw}").assembly(said=Shout())
        return Template("<p>{text}</p>").assembly(text=inner).assembly(raw="{word}!")(word="<hi>")

    @app.servlet("/form/new")
    @app.servlet("/form/*")
    class Form(forms.Formlet):
        def __init__(self, number: str | None = None) -> None:
            pattern = forms.Test("[a-z]+", error="letters")
            super().__init__({"done": Checkbox(), "name": forms.Entry(lens=pattern, _class="x")})
            self.number = number

        def get_native(self) -> Any:
            return {} if self.number is None else connection.execute("select 1 as done, 'ann' as name").fetchone()

        def display(self, fields: dict[str, Any], errors: dict[str, Any]) -> Any:
            return Template("{done}{name}{errors}")(errors=errors, **fields)

        def save(self, native: dict[str, Any], request: Request) -> Any:
            return Response.redirect(request.root_url(["app", "all"], native))

    app.delegate_folder("/files/", StaticFolder(str(tmp_path)))

    def handle(request: Request) -> Any:
        if request.path == ["old"]:
            return app(Request("GET", "/app/row/7?color=old", request.protocol, request.headers, None))
        response = app(request)
        if isinstance(response, Response) and response.code == 404:
            response.content = response.content.replace(b"</body>", b"LOST</body>")
        return response

    return folder.wrap(handle)


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("/app/all", "1:<h1>All &amp;</h1>Names[&lt;a&gt;]"),
        ("/app/all?where=0", "1:<h1>All &amp;</h1>none"),
        ("/app/row/5", "1:table5color: red\r\n"),
        ("/old", "1:table7color: old\r\n"),
        ("/app/json", '[1, "\\u00fc"]'),
        ("/app/shout", "1:<p><b>&lt;HI&gt;</b>, &lt;hi&gt;!</p>"),
        (
            "/app/form/new",
            '1:<input type="checkbox" name="done"><input type="text" class="x" name="name" value=""/>',
        ),
        (
            "/app/form/5",
            '1:<input type="checkbox" name="done" checked><input type="text" class="x" name="name" value="ann"/>',
        ),
        ("/app/files/page.tpl", "<h1>{title}</h1>{body}"),
    ],
)
def test_pages(program: Handle, uri: str, page: str) -> None:
    answer = ask(Application(program), uri=uri)
    assert (answer.code, answer.text) == (200, page)


def test_posts_and_what_is_not_there(program: Handle) -> None:
    app = Application(program)
    again = ask(app, "POST", "/app/form/new", b"name=%3C&done=on")
    assert again.text.endswith('checked><input type="text" class="x" name="name" value="&lt;"/>name: letters\r\n')
    saved = ask(app, "POST", "/app/form/new", b"name=bob&done=on")
    assert (saved.code, saved.header("location")) == (302, "/app/all?done=True&name=bob")
    lost = ask(app, uri="/app/row/5/6")
    assert lost.code == 404
    assert "LOST</body>" in lost.text
    assert ask(app, uri="/app/files").header("location") == "/app/files/"


def test_a_test_of_the_program_makes_its_requests(program: Handle) -> None:
    response = program(Request("GET", "/app/json", "HTTP/1.0", implementation.Bag(), b""))
    assert response.content.startswith(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\nx-number: 5\r\n")
    assert program(Request("GET", "/nothing", "HTTP/1.0", {}, None)).code == 404
