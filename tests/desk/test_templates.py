"""Templates: fields in braces, assemblies, loops; every mistake is an error that names the template and the line."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library

library("markupsafe")

from reserve.desk.content import Content, flatten  # noqa: E402
from reserve.desk.templates import (  # noqa: E402
    AbstractTemplate,
    Parameters,
    SubAssembly,
    Template,
    TemplateError,
    TemplateLoop,
)


def text(content: Content) -> str:
    return b"".join(flatten(content)).decode()


@pytest.fixture
def row() -> sqlite3.Row:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row: sqlite3.Row = connection.execute("select 'a&b' as title, 3 as task, null as due").fetchone()
    connection.close()
    return row


@pytest.mark.parametrize(
    ("source", "values", "expected"),
    [
        ("a{x}b", {"x": "<&\"'>"}, "a&lt;&amp;&#34;&#39;&gt;b"),
        ("a{.x}b", {"x": "<b>"}, "a<b>b"),
        ("{.x}", {"x": ["<b>", [1, b"z"]]}, "<b>1z"),
        ("{x}{.x}", {"x": None}, ""),
        ("{x}{x}", {"x": 5}, "55"),
        ("{x:num} {x:cents}", {"x": 12345.678}, "12,345.678 12,345.68"),
        ("{x:num}{x:cents}", {"x": None}, ""),
        ("{x}", {"x": datetime.date(2026, 12, 31)}, "2026-12-31"),
        ("{x}", {"x": {"name": "may not be <blank>."}}, "name: may not be &lt;blank&gt;.\r\n"),
        ("{x}", {"x": ["<", ">"]}, "&lt;&gt;"),
        ("\u00fc{_x9}", {"_x9": "\u20ac"}, "\u00fc\u20ac"),
        ("{self}{name}", {"self": 1, "name": 2}, "12"),
        ("p { color: red } { x } {} {1} {a-b} {{x}}", {"x": 1}, "p { color: red } { x } {} {1} {a-b} {1}"),
        ("", {}, ""),
    ],
)
def test_fields_are_filled_in(source: str, values: dict[str, Any], expected: str) -> None:
    assert text(Template(source)(**values)) == expected
    assert text(Template(source).sub(values)) == expected


def test_a_row_of_sqlite_fills_in_a_template(row: sqlite3.Row) -> None:
    assert text(Template("{title} {task} {due}.").sub(row)) == "a&amp;b 3 ."
    assert text(Template("{.x}!").assembly(x="{title}").sub(row)) == "a&amp;b!"


def test_anything_with_items_by_name_fills_in_a_template() -> None:
    class Upper:
        def __getitem__(self, name: str) -> str:
            return name.upper()

    assert text(Template("{a}{b}").sub(Upper())) == "AB"


def test_a_template_in_a_template_is_not_escaped_again() -> None:
    item = Template("<li>{x}</li>")
    assert text(Template("<ul>{items}</ul>")(items=[item(x="<"), item(x=2)])) == "<ul><li>&lt;</li><li>2</li></ul>"


def test_programs_add_functions_to_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Template.REGISTRY, ":class", ("todo", "complete").__getitem__)
    monkeypatch.setitem(Template.REGISTRY, ":shout", lambda value: f"<{value}>")
    assert text(Template('<i class="{state:class}">')(state=True)) == '<i class="complete">'
    assert text(Template("{x:shout}")(x="a")) == "&lt;a&gt;"


@given(st.dictionaries(st.from_regex(r"[_a-z]\w{0,5}", fullmatch=True), st.text()), st.text(alphabet="ab <{}>\n"))
def test_any_template_is_its_text_with_the_fields_in_place(values: dict[str, str], between: str) -> None:
    between = between.replace("{", "{ ")
    source = between + between.join(f"{{.{name}}}" for name in values)
    expected = between + between.join(values.values())
    assert b"".join(flatten(Template(source).sub(values))) == expected.encode("utf-8", "replace")


# ---- mistakes ----


def test_a_missing_name_is_an_error_that_names_the_template_the_line_and_the_names() -> None:
    template = Template("<p>\n{title}\n{titel}</p>", name="task_form")
    with pytest.raises(TemplateError) as caught:
        template(title="x", due="y")
    assert (caught.value.template, caught.value.line) == ("task_form", 3)
    message = str(caught.value)
    assert message.startswith("template task_form, line 3: {titel}: 'titel' is not given; these are: due, title")
    assert "did you mean 'title'?" in message
    assert isinstance(caught.value, KeyError)


def test_a_missing_name_of_a_row_is_an_error(row: sqlite3.Row) -> None:
    with pytest.raises(TemplateError, match="'tasks' is not given; these are: due, task, title; did you mean 'task'"):
        Template("{tasks}").sub(row)


def test_a_template_without_a_name_is_named_by_its_text() -> None:
    with pytest.raises(TemplateError, match=r"template '<p>Hello, \{user\}</p>', line 2: .*nothing is"):
        Template("<p>Hello,\n{user}</p>")()


def test_the_error_shows_how_braces_are_written_as_text() -> None:
    with pytest.raises(TemplateError, match=r"write '\{ return \}'"):
        Template("<script>function f(){return}</script>")()


def test_an_error_of_a_part_is_that_of_the_part() -> None:
    page = Template("{body}", name="page").assembly(body=Template("\n{x}", name="part"))
    with pytest.raises(TemplateError) as caught:
        page()
    assert (caught.value.template, caught.value.line) == ("part", 2)


def test_many_names_are_listed_only_up_to_thirty() -> None:
    with pytest.raises(TemplateError, match="and 70 more"):
        Template("{missing}").sub({f"name{number}": 1 for number in range(100)})


def test_an_unknown_function_is_an_error_when_the_template_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported a program that has added its own.
    own = {how: Template.REGISTRY[how] for how in (":num", ":cents")}
    monkeypatch.setattr(Template, "REGISTRY", own)
    with pytest.raises(TemplateError, match=r"template t, line 2: .*':nun'.*:cents, :num; did you mean ':num'\?"):
        Template("\n{x:nun}", name="t")


def test_the_dot_and_a_function_exclude_each_other() -> None:
    with pytest.raises(TemplateError, match=r"\{\.x:num\}"):
        Template("{.x:num}")


def test_an_error_of_a_function_says_where_it_was() -> None:
    with pytest.raises(ValueError, match="Cannot specify") as caught:
        Template("\n{x:num}", name="t")(x="text")
    assert caught.value.__notes__ == ["(while filling in {x:num} in template t, line 2)"]


def test_a_tuple_instead_of_a_row_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TemplateError, match=r"line 1: .*got \('a', 1\); .*row_factory = sqlite3.Row"):
        Template("{x}").sub(("a", 1))  # type: ignore[arg-type]
    with pytest.raises(TemplateError, match=r"row_factory = sqlite3.Row"):
        Template("{x}").assembly(x="1").sub(("a", 1))  # type: ignore[arg-type]


# ---- assemblies ----


def test_an_assembly_is_a_template_of_what_its_parts_and_its_base_need() -> None:
    page = Template("<h1>{title}</h1>{.body}{foot}")
    user_page = page.assembly(title="Hello, {user}", body="<p>{user}</p>{.body}")
    assert isinstance(user_page, SubAssembly)
    expected = "<h1>Hello, &lt;u&gt;</h1><p>&lt;u&gt;</p><i>1"
    assert text(user_page(user="<u>", body="<i>", foot=1)) == expected


def test_assemblies_may_be_extended_again() -> None:
    page = Template("{title}|{body}|{foot}").assembly(body="b{x}").assembly(title=Template("t{x}"))
    assert text(page(x=1, foot=2)) == "t1|b1|2"


def test_the_fields_of_an_assembly_may_be_called_like_its_parameters() -> None:
    assert text(Template("{self}{base}").assembly(self="{x}", base="b")(x=1)) == "1b"


def test_a_class_of_the_program_may_act_as_a_template() -> None:
    class Stars(AbstractTemplate):
        def sub(self, parameters: Parameters) -> Any:
            return ["<hr>"] * parameters["count"]

    assert text(Template("{stars}{count}").assembly(stars=Stars())(count=2)) == "<hr><hr>2"
    assert text(Template("{x}")(x=Stars()(count=1))) == "<hr>"
    assert text(Template("{x}")(x=Stars().assembly(other="")(count=1))) == "<hr>"
    loop = TemplateLoop("", Stars(), "", Stars())
    assert text(Template("{x}")(x=loop.loop([{"count": 1}, {"count": 2}]))) == "<hr><hr><hr>"
    assert text(Template("{x}")(x=loop.loop([], {"count": 1}))) == "<hr>"


def test_a_str_that_a_template_of_the_program_returns_is_text() -> None:
    class Upper(AbstractTemplate):
        def sub(self, parameters: Parameters) -> Any:
            return parameters["x"].upper()

    assert text(Template("{y}{.y}").assembly(y=Upper())(x="<b>")) == "&lt;B&gt;<B>"
    assert text(Template("{y}")(y=Upper()(x="<b>"))) == "&lt;B&gt;"


@pytest.mark.parametrize(
    ("template", "how"),
    [(Template("x"), "calling it"), (Template("x").assembly(), "calling it"), (TemplateLoop("", "", ""), "loop")],
)
def test_a_template_that_is_not_filled_in_is_no_content(template: Any, how: str) -> None:
    for source in ("{x}", "{.x}"):
        with pytest.raises(TypeError, match=how):
            text(Template(source)(x=[template]))


@pytest.mark.parametrize("wrong", [None, b"text", 5])
def test_the_text_of_a_template_is_a_str(wrong: Any) -> None:
    with pytest.raises(TypeError, match="is a str, got"):
        Template(wrong)


@pytest.mark.parametrize("wrong", [5, None, ["a"], TemplateLoop("", "", "")])
def test_what_is_no_template_cannot_be_part_of_one(wrong: Any) -> None:
    with pytest.raises(TypeError, match="'body' of an assembly is a str or a template"):
        Template("{body}").assembly(body=wrong)
    with pytest.raises(TypeError, match="the body of a loop is a str or a template"):
        TemplateLoop("", wrong, "")


def test_the_base_class_says_which_method_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="sub"):
        AbstractTemplate()()


# ---- loops ----

LOOP = TemplateLoop("<ul>", "<li>{x}</li>", "</ul>", "<p>None.</p>")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "<p>None.</p>"),
        (iter([]), "<p>None.</p>"),
        ([{"x": "<"}], "<ul><li>&lt;</li></ul>"),
        (({"x": number} for number in range(3)), "<ul><li>0</li><li>1</li><li>2</li></ul>"),
    ],
)
def test_loops(items: Any, expected: str) -> None:
    assert text(LOOP.loop(items)) == expected


def test_the_result_of_a_loop_is_not_escaped_again() -> None:
    assert text(Template("{rows}")(rows=LOOP.loop([{"x": 1}]))) == "<ul><li>1</li></ul>"


def test_an_empty_loop_without_otherwise_is_nothing() -> None:
    assert text(Template("{rows}")(rows=TemplateLoop("<ul>", "{x}", "</ul>").loop([]))) == ""


def test_the_context_is_for_all_parts_and_the_items_come_first(row: sqlite3.Row) -> None:
    loop = TemplateLoop("{title}:", "{title}{owner},", "{owner}", "{owner}!")
    assert text(loop.loop([row], {"owner": "<o>", "title": "T"})) == "T:a&amp;b&lt;o&gt;,&lt;o&gt;"
    assert text(loop.loop([], {"owner": "o"})) == "o!"


def test_a_loop_reads_a_cursor_to_its_end() -> None:
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    cursor = connection.execute("select 1 as x union select 2")
    rows = LOOP.loop(cursor)
    cursor.execute("select 3")  # the same cursor is used for something else
    connection.close()
    assert text(rows) == "<ul><li>1</li><li>2</li></ul>"
