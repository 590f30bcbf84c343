"""PathInfoDispatcher: who gets a path, and what becomes of SCRIPT_NAME and PATH_INFO."""

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


def ask(dispatcher: Any, path: str, script: str = "") -> tuple[str, str, str]:
    """Which application answered, with which SCRIPT_NAME and PATH_INFO."""
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
def test_the_longest_prefix_on_a_segment_boundary(path: str, expected: tuple[str, str, str]) -> None:
    assert ask(SITE, path) == expected


def test_the_order_of_the_pairs_does_not_matter() -> None:
    pairs = [(prefix, named(prefix)) for prefix in PREFIXES]
    for order in (pairs, pairs[::-1]):
        assert ask(PathInfoDispatcher(order), "/blog/admin/x")[0] == "/blog/admin"
    assert ask(PathInfoDispatcher(iter(pairs)), "/blog")[0] == "/blog"


@pytest.mark.parametrize("key", ["/blog", "/blog/"])
@pytest.mark.parametrize("path", ["/blog", "/blog/"])
def test_a_slash_at_the_end_of_the_key_means_nothing(key: str, path: str) -> None:
    assert ask(PathInfoDispatcher({key: named("blog")}), path) == ("blog", "/blog", path[5:])


@pytest.mark.parametrize("path", ["/", "", "/other", "*", "/blogs"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_no_match_is_a_small_404(path: str, method: str) -> None:
    served = serve(PathInfoDispatcher({"/blog": named("blog")}), environ={"PATH_INFO": path, "REQUEST_METHOD": method})
    assert served.exchange.status == "404 Not Found"
    assert served.exchange.headers["content-type"] == "text/plain; charset=utf-8"
    assert served.exchange.promised == len(served.exchange.body)
    assert served.exchange.complete


def test_dispatchers_nest_and_keep_what_was_mounted_outside() -> None:
    inner = PathInfoDispatcher({"/two": named("two"), "": named("root")})
    outer = PathInfoDispatcher({"/one": inner})
    assert ask(outer, "/one/two/three", "/zero") == ("two", "/zero/one/two", "/three")
    assert ask(outer, "/one", "/zero") == ("root", "/zero/one", "")


@pytest.mark.parametrize(
    ("apps", "words"),
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
def test_wrong_mounts_are_usage_errors(apps: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        PathInfoDispatcher(apps)
    assert words in str(caught.value)


SEGMENTS = st.sampled_from(["a", "b", "ab", "caf\xe9", "\u65e5", "a b", "..", "*"])
KEYS = st.lists(SEGMENTS, max_size=3).map(lambda parts: "/" + "/".join(parts))
PATHS = st.one_of(
    st.lists(st.one_of(st.just(""), SEGMENTS), max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.sampled_from(["", "*"]),
    st.text(alphabet="/ab*", max_size=12),
).map(lambda path: path.encode().decode("latin-1"))


@given(keys=st.sets(KEYS, min_size=1, max_size=6), path=PATHS, script=st.sampled_from(["", "/root"]))
def test_the_whole_path_is_preserved_and_the_longest_prefix_wins(keys: set[str], path: str, script: str) -> None:
    chosen, script_name, path_info = ask(PathInfoDispatcher({key: named(key) for key in keys}), path, script)
    assert script_name + path_info == script + path
    fitting = [
        key
        for key in keys
        if path.split("/")[: key.rstrip("/").count("/") + 1] == key.rstrip("/").encode().decode("latin-1").split("/")
    ]
    if path == "*":
        assert chosen == ("/" if "/" in keys else "404 Not Found")
    elif not fitting:
        assert chosen == "404 Not Found"
        assert script_name == script
    else:
        assert chosen == max(fitting, key=lambda key: len(key.rstrip("/").split("/")))
        assert path_info == "" or path_info.startswith("/")
