"""PathInfoDispatcher: the application that is called for a path, and its SCRIPT_NAME and PATH_INFO."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import UsageError
from reserve.gateways.dispatch import PathInfoDispatcher
from tests.gateways.fakes import serve


def named(name: str) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        environ["chosen"] = name
        start_response("200 OK", [])
        return [name.encode()]

    return app


def dispatch(dispatcher: Any, path: str, script: str = "") -> tuple[str, str, str]:
    """The application that was called (or the status), and its SCRIPT_NAME and PATH_INFO."""
    served = serve(dispatcher, environ={"PATH_INFO": path, "SCRIPT_NAME": script})
    environ = served.exchange.environ
    return environ.get("chosen", served.exchange.status), environ["SCRIPT_NAME"], environ["PATH_INFO"]


PREFIXES = ["/", "/blog", "/blog/admin", "/b", "/caf\xe9"]
SITE = PathInfoDispatcher({prefix: named(prefix) for prefix in PREFIXES})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("/", "", "")),
        ("/", ("/", "", "/")),
        ("//", ("/", "", "//")),
        ("//blog", ("/", "", "//blog")),
        ("/blog", ("/blog", "/blog", "")),
        ("/blog/", ("/blog", "/blog", "/")),
        ("/blog//", ("/blog", "/blog", "//")),
        ("/blog/2", ("/blog", "/blog", "/2")),
        ("/blog/admin", ("/blog/admin", "/blog/admin", "")),
        ("/blog/admin/x", ("/blog/admin", "/blog/admin", "/x")),
        ("/blog/administrator", ("/blog", "/blog", "/administrator")),
        ("/blogs", ("/", "", "/blogs")),
        ("/Blog", ("/", "", "/Blog")),
        ("/b/log", ("/b", "/b", "/log")),
        ("/caf\xc3\xa9/x", ("/caf\xe9", "/caf\xc3\xa9", "/x")),
        ("*", ("/", "", "*")),
    ],
)
def test_the_longest_prefix_on_a_segment_boundary_is_chosen(path: str, expected: tuple[str, str, str]) -> None:
    assert dispatch(SITE, path) == expected


def test_the_order_of_the_pairs_does_not_matter() -> None:
    pairs = [(prefix, named(prefix)) for prefix in PREFIXES]
    for order in (pairs, pairs[::-1]):
        assert dispatch(PathInfoDispatcher(order), "/blog/admin/x")[0] == "/blog/admin"
    assert dispatch(PathInfoDispatcher(iter(pairs)), "/blog")[0] == "/blog"


@pytest.mark.parametrize("prefix", ["/blog", "/blog/"])
@pytest.mark.parametrize("path", ["/blog", "/blog/"])
def test_a_slash_at_the_end_of_a_prefix_is_ignored(prefix: str, path: str) -> None:
    assert dispatch(PathInfoDispatcher({prefix: named("blog")}), path) == ("blog", "/blog", path[5:])


@pytest.mark.parametrize("path", ["/", "", "/other", "*", "/blogs"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_path_without_an_application_is_a_404(path: str, method: str) -> None:
    served = serve(PathInfoDispatcher({"/blog": named("blog")}), environ={"PATH_INFO": path, "REQUEST_METHOD": method})
    assert served.exchange.status == "404 Not Found"
    assert served.exchange.headers["content-type"] == "text/plain; charset=utf-8"
    assert served.exchange.expected_length == len(served.exchange.body)
    assert served.exchange.complete


def test_nested_dispatchers_extend_script_name() -> None:
    inner = PathInfoDispatcher({"/two": named("two"), "": named("root")})
    outer = PathInfoDispatcher({"/one": inner})
    assert dispatch(outer, "/one/two/three", "/zero") == ("two", "/zero/one/two", "/three")
    assert dispatch(outer, "/one", "/zero") == ("root", "/zero/one", "")


@pytest.mark.parametrize(
    ("apps", "message"),
    [
        ({}, "at least one"),
        ([], "at least one"),
        ({"blog": named("x")}, "write '/blog'"),
        ({"*": named("x")}, "begins with a slash"),
        ({b"/": named("x")}, "is a str"),
        ({"/a//b": named("x")}, "empty segment"),
        ({"//": named("x")}, "empty segment"),
        ({"/blog//": named("x")}, "empty segment"),
        ({"/caf%C3%A9": named("x")}, "decoded"),
        ({"/\udc80": named("x")}, "UTF-8"),
        ({"/": "blog"}, "callable"),
        ({"/": None}, "callable"),
        ([("/a", named("x")), ("/a/", named("y"))], "two applications are mounted at '/a'"),
        ([("/", named("x")), ("", named("y"))], "two applications are mounted at '/'"),
        ([named("x")], "pairs"),
        (["ab"], "pairs"),
        ("/blog", "mapping"),
        (named("x"), "mapping"),
    ],
)
def test_invalid_mounts_are_usage_errors(apps: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        PathInfoDispatcher(apps)
    assert message in str(caught.value)


SEGMENTS = st.sampled_from(["a", "b", "ab", "caf\xe9", "\u65e5", "a b", "..", "*"])
MOUNTS = st.lists(SEGMENTS, max_size=3).map(lambda parts: "/" + "/".join(parts))
PATHS = st.one_of(
    st.lists(st.one_of(st.just(""), SEGMENTS), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "*"]),
    st.text(alphabet="/ab*", max_size=12),
).map(lambda path: path.encode().decode("latin-1"))


@given(prefixes=st.sets(MOUNTS, min_size=1, max_size=6), path=PATHS, script=st.sampled_from(["", "/root"]))
def test_the_complete_path_is_kept_and_the_longest_prefix_is_chosen(prefixes: set[str], path: str, script: str) -> None:
    dispatcher = PathInfoDispatcher({prefix: named(prefix) for prefix in prefixes})
    chosen, script_name, path_info = dispatch(dispatcher, path, script)
    assert script_name + path_info == script + path
    matching = [
        prefix
        for prefix in prefixes
        if path.split("/")[: prefix.rstrip("/").count("/") + 1]
        == prefix.rstrip("/").encode().decode("latin-1").split("/")
    ]
    if path == "*":
        assert chosen == ("/" if "/" in prefixes else "404 Not Found")
    elif not matching:
        assert chosen == "404 Not Found"
        assert script_name == script
    else:
        assert chosen == max(matching, key=lambda prefix: len(prefix.rstrip("/").split("/")))
        assert path_info == "" or path_info.startswith("/")
