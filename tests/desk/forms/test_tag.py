"""``tag``: values are escaped, names that would end the tag are refused, content is HTML."""

from __future__ import annotations

from typing import Any

import pytest

from tests.extras import library

for name in ("itsdangerous", "markupsafe", "python_multipart"):
    library(name)

from reserve.desk.content import Content, flatten  # noqa: E402
from reserve.desk.forms.tag import tag  # noqa: E402
from reserve.desk.templates import Template  # noqa: E402


def text(content: Content) -> str:
    return b"".join(flatten(content)).decode()


@pytest.mark.parametrize(
    ("kind", "attributes", "content", "expected"),
    [
        ("input", {"name": "q", "value": "a\"b'<&>"}, None, '<input name="q" value="a&#34;b&#39;&lt;&amp;&gt;"/>'),
        ("input", {"required": None}, None, "<input required/>"),
        ("p", {}, "", "<p></p>"),
        ("p", {"class": "wide", "data-n": 5}, ["<b>", 1, "</b>"], '<p class="wide" data-n="5"><b>1</b></p>'),
        ("my-list", {"@click": "x", ":a": "y"}, None, '<my-list @click="x" :a="y"/>'),
    ],
)
def test_elements(kind: str, attributes: dict[str, Any], content: Content, expected: str) -> None:
    assert text(tag(kind, attributes, content)) == expected


def test_an_element_is_ready_as_a_whole_and_in_parts() -> None:
    element = tag("a", {"href": "/"}, "<b>")
    assert text(Template("{x}")(x=element)) == '<a href="/"><b></a>'
    assert text(Template("{x}")(x=[*element, "<"])) == '<a href="/"><b></a>&lt;'


@pytest.mark.parametrize("name", ["", "a b", "a>", "a=", 'a"', "a'", "a/", "a\n", "a\0", "<a"])
def test_names_that_would_end_something_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name of an HTML attribute"):
        tag("p", {name: "x"}, None)
    with pytest.raises(ValueError, match="not a name of an HTML element"):
        tag(name, {}, None)
