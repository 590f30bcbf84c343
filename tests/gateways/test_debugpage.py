"""The page of an exception: what it shows, what it hides, and exceptions that resist being shown."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from reserve.errors import RequestTimeout
from reserve.gateways.debugpage import debug_page, describe_error

REQUEST = {
    "REQUEST_METHOD": "GET",
    "REQUEST_URI": "/shop?<b>=1",
    "QUERY_STRING": "<b>=1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_USER_AGENT": "<script>alert(1)</script>",
    "HTTP_COOKIE": "session=hidden-cookie",
    "HTTP_AUTHORIZATION": "Basic hidden-password",
}


def raised(error: BaseException) -> BaseException:
    secret = "-".join(("hidden", "variable"))  # noqa: F841 - the page must not show its value
    try:
        raise error  # this line is shown
    except BaseException as caught:
        return caught


def page(error: BaseException, environ: dict[str, Any] | None = None, *, html: bool = True) -> str:
    return debug_page(raised(error), REQUEST if environ is None else environ, html=html).decode()


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("html", [True, False])
def test_the_exception_its_lines_and_the_request_are_shown(html: bool) -> None:
    text = page(ValueError("wrong price"), html=html)
    assert "ValueError: wrong price" in text
    assert "raise error  # this line is shown" in text
    assert __file__ in text
    assert "127.0.0.1" in text
    assert ("GET /shop?&lt;b&gt;=1" if html else "GET /shop?<b>=1") in text


@pytest.mark.parametrize("html", [True, False])
def test_variables_environment_and_credentials_are_not_shown(html: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hidden-environment")
    text = page(ValueError("x"), html=html)
    for word in ("hidden-variable", "hidden-cookie", "hidden-password", "hidden-environment"):
        assert word not in text
    assert "Cookie" in text


def test_everything_is_escaped_and_nothing_runs() -> None:
    tags = Tags(page(ValueError("</pre><script>alert(1)</script><img src=x onerror=alert(1)>")))
    assert tags.tags.isdisjoint({"script", "img", "a", "form", "iframe", "b"})
    assert tags.attributes <= {"lang", "charset", "name", "content", "class"}


class Rude(Exception):
    def __str__(self) -> str:
        raise SystemExit

    def __repr__(self) -> str:
        raise SystemExit

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit


def test_an_exception_that_cannot_be_described_is_named() -> None:
    assert "Rude: (its text cannot be shown)" in page(Rude())


def test_only_the_end_of_the_run_leaves_it() -> None:
    class Late(Exception):
        def __str__(self) -> str:
            raise RequestTimeout

    with pytest.raises(RequestTimeout):
        debug_page(Late(), REQUEST, html=True)


def test_what_an_application_does_to_its_environ_does_no_harm() -> None:
    class Evil(str):
        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            raise SystemExit

    environ: dict[Any, Any] = {**REQUEST, "HTTP_X": Evil("evil"), 7: "seven", "REQUEST_URI": b"/", "PATH_INFO": None}
    assert "evil" not in page(ValueError("x"), environ)
    assert "ValueError" in page(ValueError("x"), {})


def test_surrogates_and_control_characters_can_be_sent() -> None:
    assert "\\udcff" in page(ValueError("\udcff\x00"))
    assert "X-Y: a  b\n" in page(ValueError(""), {**REQUEST, "HTTP_X_Y": "a\r\nb"}, html=False)


def test_the_size_is_bounded() -> None:
    def first(depth: int) -> None:
        second(depth)

    def second(depth: int) -> None:
        first(depth)

    with pytest.raises(RecursionError) as caught:
        first(0)
    for html in (True, False):
        assert len(debug_page(caught.value, REQUEST, html=html)) < 400_000
    environ = {**REQUEST, **{f"HTTP_X{number}": "x" * 10_000 for number in range(100)}}
    assert len(page(ValueError("y" * 10_000_000), environ)) < 400_000


def test_frames_of_the_server_are_left_out_if_there_are_others() -> None:
    error = raised(ValueError("x"))
    assert [frame.name for frame in describe_error(error, ["/elsewhere/"]).frames] == ["raised"]
    assert [frame.name for frame in describe_error(error, [__file__]).frames] == ["raised"], "all frames are its own"
    (frame,) = describe_error(error, []).frames
    assert (frame.number, [text for number, text in frame.lines if number == frame.number]) == (
        error.__traceback__.tb_lineno,  # type: ignore[union-attr]
        ["        raise error  # this line is shown"],
    )


def test_a_module_whose_loader_fails_has_no_lines() -> None:
    class Loader:
        def get_source(self, name: str) -> str:
            raise SystemExit

    space: dict[str, Any] = {"__name__": "generated", "__loader__": Loader()}
    exec(compile("def fail():\n    raise ValueError", "generated.py", "exec"), space)
    try:
        space["fail"]()
    except ValueError as error:
        described = describe_error(error, [])
    assert described.frames[0].path == "generated.py"
