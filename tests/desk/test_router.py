"""Router: which handler answers for which path and method."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.desk.wsgicalls import ask
from tests.extras import library

library("markupsafe")
library("python_multipart")

from reserve.desk.request import Request  # noqa: E402
from reserve.desk.response import Response  # noqa: E402
from reserve.desk.router import Router, Servlet  # noqa: E402


def request(uri: str, method: str = "GET") -> Request:
    return Request(method, uri, "HTTP/1.1", {}, None)


def answer(router: Router, uri: str, method: str = "GET") -> Any:
    """Code and body, or the Location or Allow."""
    result = router(request(uri, method))
    if not isinstance(result, Response):
        return result
    return result.code, result.headers.get("location") or result.headers.get("allow") or ""


def names(*paths: str) -> Router:
    """A router whose handlers say where they are, what is left, and what the wildcards are."""
    router = Router()
    for path in paths:

        def handler(request: Request, path: str = path) -> tuple[str, list[str], list[str]]:
            return path, request.path_suffix(), list(request.args)

        router.delegate(path, handler)
    return router


# ---- matching ----


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("/", ("", [""], [])),
        ("/x", ("", ["x"], [])),
        ("/a", ("/a", [], [])),
        ("/a/", ("/a", [""], [])),
        ("/a/x/y", ("/a/*/y", [], ["x"])),
        ("/a/x/z", ("/a", ["x", "z"], [])),
        ("/a/b/c", ("/a/b/c", [], [])),
        ("/a/b/y", ("/a/*/y", [], ["b"])),
        ("/a/b/c/d", ("/*/*/c/d", [], ["a", "b"])),
        ("/a/q/c/d", ("/*/*/c/d", [], ["a", "q"])),
        ("/a/b/c/e", ("/a/b/c", ["e"], [])),
        ("/q/r/c/d/", ("/*/*/c/d", [""], ["q", "r"])),
        ("/a/*/y", ("/a/*/y", [], ["*"])),
        ("/w/", ("/w/*", [], [""])),
        ("/w/a%2F", ("/w/*", [], ["a/"])),
        ("/w", ("", ["w"], [])),
    ],
)
def test_the_deepest_match_wins(uri: str, found: Any) -> None:
    router = names("", "/a", "/a/*/y", "/a/b/c", "/*/*/c/d", "/w/*")
    assert router(request(uri)) == found


def test_what_is_written_out_goes_before_a_wildcard() -> None:
    router = names("/*/b", "/a/*")
    assert router(request("/a/b"))[0] == "/a/*"
    assert router(request("/c/b"))[0] == "/*/b"


def test_the_search_visits_each_place_once() -> None:
    """A path of asterisks matches the wildcard in two ways: 2 to the power of 40 visits otherwise."""
    depth = 40
    router = names("/*" * depth + "/end")
    assert router(request("/*" * depth + "/x")).code == 404


def test_nothing_is_404() -> None:
    assert answer(names("/a"), "/b") == (404, "")
    assert answer(Router(), "/") == (404, "")


def test_the_root_is_everything_and_the_slash_its_first_page() -> None:
    router = names("", "/")
    assert router(request("/"))[0] == "/"
    assert router(request("/x"))[0] == ""


def test_a_place_that_takes_no_more_does_not_hide_one_that_does() -> None:
    router = names("")
    router.function("/a")(lambda: "function")
    assert router(request("/a")) == "function"
    assert router(request("/a/b")) == ("", ["a", "b"], [])


def test_a_path_that_is_not_normal_is_redirected() -> None:
    assert answer(names(""), "/a//b/../c?d=e") == (302, "/a/c?d=e")


def test_a_router_within_a_router_sees_the_whole_path() -> None:
    outer = Router()
    outer.delegate("/a", names("/a/*"))
    assert outer(request("/a/b")) == ("/a/*", [], ["b"])
    assert answer(outer, "/a") == (404, "")


# ---- mounting ----


@pytest.mark.parametrize(
    ("path", "message"), [("a", "begins with a slash"), ("/a//b", "empty component"), ("//a//b", "empty component"),
                          ("/.a", "dot"), ("/a/../b", "dot")]
)  # fmt: skip
def test_paths_that_are_not_valid(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        names(path)
    with pytest.raises(ValueError, match=message):
        Router().function(path)(lambda: "")


def test_the_same_path_twice_is_an_error_that_names_it() -> None:
    router = names("/a/*")
    with pytest.raises(ValueError, match=r"handler is mounted at the path '/a/\*'"):
        router.delegate("/a/*", lambda request: "")

    @router.function("/b")
    def first() -> str:
        return "first"

    with pytest.raises(ValueError, match=r"first is mounted at the path '/b'"):
        router.servlet("/b")(Servlet)
    assert router(request("/b")) == "first"


def test_a_page_may_take_the_place_of_a_redirect_to_the_slash() -> None:
    for paths in (("/a/", "/a"), ("/a", "/a/")):
        router = Router()
        for path in paths:
            router.function(path)(lambda path=path: path)
        assert router(request("/a")) == "/a"
        assert router(request("/a/")) == "/a/"


@pytest.mark.parametrize("name", ["delegate_folder", "service"])
def test_a_folder_ends_with_a_slash(name: str) -> None:
    router = Router()
    mount = router.service("/a") if name == "service" else functools.partial(router.delegate_folder, "/a")
    with pytest.raises(ValueError, match="folder ends with a slash: '/a/'"):
        mount(Servlet)


def test_what_is_mounted_is_callable() -> None:
    with pytest.raises(TypeError, match="callable"):
        Router().delegate("/a", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callable"):
        Router().delegate_folder("/a/", "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a class"):
        Router().servlet("/a")(lambda: "")  # type: ignore[type-var]


def test_a_folder_is_redirected_to_its_slash() -> None:
    router = Router()
    router.delegate_folder("/a/*/", lambda request: request.path_suffix())
    assert answer(router, "/a/b?c=d&c=e") == (302, "/a/b/?c=d&c=e")
    assert answer(router, "/a/b", "POST") == (307, "/a/b/")
    assert router(request("/a/b/")) == [""]
    assert router(request("/a/b/c/d")) == ["c", "d"]


def test_the_root_can_be_a_folder() -> None:
    router = Router()
    router.delegate_folder("/", lambda request: request.path_suffix())
    assert router(request("/")) == [""]
    assert router(request("/a")) == ["a"]


# ---- functions ----


@pytest.fixture
def functions() -> Router:
    router = Router()

    @router.function("/add/*/*")
    def add(a: str, b: str) -> str:
        return f"{a}+{b}"

    @router.function("/search")
    def search(q: str = "", *, page: str = "1") -> str:
        return f"q={q} page={page}"

    @router.function("/needs/*")
    def needs(one: str, two: str, *, three: str) -> str:
        return f"{one} {two} {three}"

    @router.function("/any/*")
    def take(*args: str, **options: str) -> str:
        return f"{args} {options}"

    @router.function("/folder/")
    def folder() -> str:
        return "folder"

    @router.function("")
    def index() -> str:
        return "index"

    router.function("/own")(raising)
    return router


def raising() -> str:
    raise TypeError("of the program")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/", "index"),
        ("/add/1/b%20c", "1+b c"),
        ("/search", "q= page=1"),
        ("/search?q=a+b&page=2", "q=a b page=2"),
        ("/search?q=1&q=2", "q=2 page=1"),
        ("/needs/a?three=c&two=b", "a b c"),
        ("/any/a?x=1", "('a',) {'x': '1'}"),
        ("/folder/", "folder"),
    ],
)
def test_functions_get_path_and_query(functions: Router, uri: str, expected: str) -> None:
    assert functions(request(uri)) == expected


def test_a_decorated_function_is_left_as_it_is() -> None:
    assert Router().function("/own")(raising) is raising


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("/search?Q=1", "does not know: &#39;Q&#39;"),
        ("/search?pge=1", "did you mean &#39;page&#39;?"),
        ("/search?%3Cb%3E=1", "&#39;&lt;b&gt;&#39;"),
        ("/needs/a?three=c", "lacks the argument &#39;two&#39;"),
        ("/needs/a?two=b", "lacks the argument &#39;three&#39;"),
        ("/needs/a?one=1&two=b&three=c", "&#39;one&#39; comes from the path"),
        ("/add/1/2?b=3", "&#39;b&#39; comes from the path"),
        ("/?x", "&#39;x&#39;"),
    ],
)
def test_arguments_that_do_not_fit_are_named(functions: Router, uri: str, named: str) -> None:
    response = functions(request(uri))
    assert response.code == 400
    assert named in response.body.decode()


def test_a_type_error_of_the_program_stays_one(functions: Router) -> None:
    with pytest.raises(TypeError, match="of the program"):
        functions(request("/own"))


def test_a_decorator_may_add_arguments() -> None:
    def with_database(function: Callable[..., str]) -> Callable[..., str]:
        @functools.wraps(function)
        def call(*args: str, **options: str) -> str:
            return function("database", *args, **options)

        return call

    router = Router()

    @router.function("/a/*")
    @with_database
    def page(database: str, number: str, q: str = "") -> str:
        return f"{database} {number} {q}"

    assert router(request("/a/5?q=x")) == "database 5 x"


def test_the_arguments_of_a_cached_function_are_known() -> None:
    router = Router()

    @router.function("/a/*")
    @functools.cache
    def page(number: str) -> str:
        return number

    assert router(request("/a/5")) == "5"
    assert router(request("/a/5?q=x")).code == 400
    with pytest.raises(ValueError, match="cannot be called"):
        router.function("/b/*/*")(page)


def test_a_function_without_a_signature_is_called() -> None:
    router = Router()
    router.function("/a/*")(dict)
    router.function("/b/*")(str)
    assert router(request("/b/5")) == "5"


@pytest.mark.parametrize("path", ["/a", "/a/*", "/a/*/*/*"])
def test_a_function_takes_as_many_arguments_as_there_are_wildcards(path: str) -> None:
    def two(a: str, b: str, /) -> None: ...

    with pytest.raises(ValueError, match=r"two\(a.*cannot be called"):
        Router().function(path)(two)


def test_the_arguments_of_the_class_of_a_servlet_come_from_the_path() -> None:
    class Page:
        def __init__(self, number: str, *, option: str = "") -> None: ...

    Router().servlet("/a/*")(Page)
    with pytest.raises(ValueError, match=r"Page\(number.*cannot be called"):
        Router().servlet("/a")(Page)
    with pytest.raises(ValueError, match=r"2 wildcards, and .*Page"):
        Router().service("/a/*/*/")(Page)


@pytest.mark.parametrize(
    ("uri", "method", "expected"),
    [
        ("/search", "HEAD", "q= page=1"),
        ("/search", "OPTIONS", (204, "GET, HEAD, OPTIONS")),
        ("/search", "POST", (405, "GET, HEAD, OPTIONS")),
        ("/search", "TRACE", (405, "GET, HEAD, OPTIONS")),
        ("/search", "BREW", (501, "")),
        ("/search/", "GET", (404, "")),
        ("/search/x", "POST", (404, "")),
        ("/folder", "GET", (302, "/folder/")),
        ("/folder/x", "GET", (404, "")),
        ("/add/1", "GET", (404, "")),
    ],
)
def test_functions_answer_get(functions: Router, uri: str, method: str, expected: Any) -> None:
    assert answer(functions, uri, method) == expected


# ---- servlets ----


@pytest.fixture
def servlets() -> Router:
    router = Router()

    @router.servlet("/new")
    @router.servlet("/edit/*")
    class Edit(Servlet):
        def __init__(self, number: str = "new") -> None:
            self.number = number

        def do_GET(self, request: Request) -> str:
            return f"{request.command} {self.number}"

        def do_POST(self, request: Request) -> str:
            return f"saved {self.number}"

    @router.servlet("/files", allow_suffix=True)
    class Files:
        def do_GET(self, request: Request) -> list[str]:
            return request.path_suffix()

        def do_HEAD(self, request: Request) -> str:
            return "head"

        def do_PROPFIND(self, request: Request) -> str:
            return "propfind"

    @router.servlet("/show")
    class Show(Servlet):
        def do_GET(self, request: Request) -> str:
            return "shown"

    @router.service("/task/*/")
    class Task:
        def __init__(self, number: str) -> None:
            self.number = number

        def do_GET_edit(self, request: Request) -> str:
            return f"edit {self.number}"

        def do_POST_edit(self, request: Request) -> str:
            return f"edited {self.number}"

        def do_GET_(self, request: Request) -> str:
            return f"index {self.number}"

        def do_POST_done(self, request: Request) -> str:
            return f"done {self.number}"

    return router


@pytest.mark.parametrize(
    ("uri", "method", "expected"),
    [
        ("/new", "GET", "GET new"),
        ("/new", "HEAD", "HEAD new"),
        ("/new", "POST", "saved new"),
        ("/edit/5", "GET", "GET 5"),
        ("/edit/5", "PUT", (405, "GET, HEAD, OPTIONS, POST")),
        ("/edit/5", "OPTIONS", (204, "GET, HEAD, OPTIONS, POST")),
        ("/edit/5", "PROPFIND", (405, "GET, HEAD, OPTIONS, POST")),
        ("/edit/5", "BREW", (501, "")),
        ("/edit/5", "_class__", (501, "")),
        ("/edit/5/x", "GET", (404, "")),
        ("/files", "GET", []),
        ("/files/a/b", "GET", ["a", "b"]),
        ("/files", "HEAD", "head"),
        ("/files", "PROPFIND", "propfind"),
        ("/show", "POST", (405, "GET, HEAD, OPTIONS")),
        ("/show", "OPTIONS", (204, "GET, HEAD, OPTIONS")),
        ("/task/5", "GET", (302, "/task/5/")),
        ("/task/5/", "GET", "index 5"),
        ("/task/5/edit", "GET", "edit 5"),
        ("/task/5/edit", "HEAD", "edit 5"),
        ("/task/5/edit", "POST", "edited 5"),
        ("/task/5/edit", "DELETE", (405, "GET, HEAD, OPTIONS, POST")),
        ("/task/5/edit", "OPTIONS", (204, "GET, HEAD, OPTIONS, POST")),
        ("/task/5/done", "GET", (405, "OPTIONS, POST")),
        ("/task/5/nope", "GET", (404, "")),
        ("/task/5/edit/x", "GET", (404, "")),
        ("/task/5/edit", "BREW", (501, "")),
    ],
)
def test_servlets_and_services(servlets: Router, uri: str, method: str, expected: Any) -> None:
    assert answer(servlets, uri, method) == expected


def test_a_method_cannot_reach_the_pages_of_a_service() -> None:
    class Service:
        def do_GET_edit(self, request: Request) -> str:
            return "edit"

    router = Router()
    router.servlet("/a")(Service)
    assert answer(router, "/a", "GET_edit") == (501, "")


def test_a_service_is_returned_by_its_decorator() -> None:
    class Service:
        pass

    assert Router().service("/a/")(Service) is Service
    assert Router().servlet("/a")(Service) is Service


def test_each_request_has_its_own_servlet() -> None:
    seen = []

    class Page:
        def do_GET(self, request: Request) -> str:
            seen.append(self)
            return ""

    router = Router()
    router.servlet("/a")(Page)
    router(request("/a"))
    router(request("/a"))
    assert seen[0] is not seen[1]


def test_the_base_class_says_what_is_missing() -> None:
    with pytest.raises(NotImplementedError, match="Servlet has no do_GET"):
        Servlet().do_GET(request("/"))
    with pytest.raises(NotImplementedError, match="Servlet has no do_POST"):
        Servlet().do_POST(request("/"))


# ---- the rest ----


@pytest.mark.parametrize(
    ("uri", "name"),
    [("/search", "functions.<locals>.search"), ("/folder", "functions.<locals>.folder"), ("/nowhere", "")],
)
def test_the_request_names_its_handler(functions: Router, uri: str, name: str) -> None:
    asked = request(uri)
    functions(asked)
    assert asked.handler == (f"{__name__}.{name}" if name else "")


def test_the_request_names_the_method_of_a_service(servlets: Router) -> None:
    asked = request("/task/5/edit")
    servlets(asked)
    assert asked.handler == f"{__name__}.servlets.<locals>.Task.do_GET_edit"


def test_a_router_is_a_wsgi_application(functions: Router) -> None:
    assert functions.single_thread
    answer = ask(functions, uri="/add/1/2")
    assert (answer.code, answer.body) == (200, b"1+2")
    answer = ask(functions, "HEAD", uri="/add/1/2")
    assert (answer.code, answer.body, answer.header("content-length")) == (200, b"", "3")
    answer = ask(functions, "DELETE", uri="/add/1/2")
    assert (answer.code, answer.header("allow")) == (405, "GET, HEAD, OPTIONS")
    assert ask(functions, uri="/own").code == 500
    assert ask(functions, uri="/", HTTP_HOST="evil.example").code == 421


def test_methods_of_built_in_types_can_be_mounted() -> None:
    router = Router()
    router.function("/upper/*")(str.upper)
    router.function("/join/*")(", ".join)
    router.function("/int/*")(int)
    assert answer(router, "/upper/a") == "A"
    assert answer(router, "/join/ab") == "a, b"
    assert answer(router, "/int/5") == 5
    asked = request("/upper/a")
    router(asked)
    assert asked.handler == "str.upper"


@pytest.mark.parametrize(
    "name", ["..%2fx", "..%2F..%2Fetc", "a%2F..", "a%2f..%2fb", "%2Fetc", "..%5Cx", "%5C%5Chost", "%5cx"]
)
def test_an_argument_does_not_lead_out_of_a_folder(name: str) -> None:
    router = names("/doc/*", "/doc")
    assert answer(router, f"/doc/{name}") == (404, "")
    assert answer(router, f"/doc/x/{name}") == (404, "")


@pytest.mark.parametrize(
    ("name", "argument"),
    [("AC%2FDC", "AC/DC"), ("...%2Fx", ".../x"), ("a%2F..b", "a/..b"), ("..a%2F", "..a/"), ("a..", "a..")],
)
def test_an_argument_may_have_slashes(name: str, argument: str) -> None:
    router = Router()
    router.function("/doc/*")(lambda name: name)
    assert answer(router, f"/doc/{name}") == argument


# ---- subclasses ----


class _Counting(Router):
    """Mounts everything below a tenant, and wraps it."""

    wrapping: Callable[..., Any] = staticmethod(lambda handler: lambda request: ["<", handler(request), ">"])

    def delegate(self, where: str, handler: Any) -> None:
        super().delegate("/*" + where, self.wrapping(handler))

    def handle(self, text: str) -> str:
        """A name that a program may use for something else."""
        return text


class _Wrapping(_Counting):
    @staticmethod
    def wrapping(handler: Any) -> Any:
        @functools.wraps(handler)
        def wrapper(request: Request) -> Any:
            return ["<", handler(request), ">"]

        return wrapper


@pytest.mark.parametrize("kind", [_Counting, _Wrapping])
def test_a_subclass_may_wrap_whatever_is_mounted(kind: type[Router]) -> None:
    router = kind()

    @router.function("/add/*/*")
    def add(tenant: str, a: str, b: str) -> Any:
        return tenant, a, b

    @router.function("/list/")
    def listed(tenant: str, q: str = "") -> Any:
        return tenant, q

    @router.servlet("/s")
    class Single:
        def __init__(self, tenant: str) -> None:
            self.tenant = tenant

        def do_GET(self, request: Request) -> Any:
            return self.tenant

    @router.service("/task/*/")
    class Task:
        def __init__(self, tenant: str, number: str) -> None:
            self.found = tenant, number

        def do_GET_edit(self, request: Request) -> Any:
            return self.found

    router.delegate_folder("/files/", lambda request: request.path_suffix())
    assert answer(router, "/t/add/1/2") == ["<", ("t", "1", "2"), ">"]
    assert answer(router, "/t/list/?q=x") == ["<", ("t", "x"), ">"]
    assert answer(router, "/t/s") == ["<", "t", ">"]
    assert answer(router, "/t/task/5/edit") == ["<", ("t", "5"), ">"]
    assert answer(router, "/t/files/a/b") == ["<", ["a", "b"], ">"]
    assert router(request("/t/list"))[1].headers["location"] == "/t/list/"
    assert router(request("/t/files"))[1].headers["location"] == "/t/files/"
    if kind is _Wrapping:  # it says what it wraps
        assert router(request("/t/add/1/2/3")).code == router(request("/t/s/")).code == 404
        asked = request("/t/s")
        router(asked)
        assert asked.handler.endswith("<locals>.Single")
    else:
        assert router(request("/t/add/1/2/3"))[1].code == router(request("/t/s/"))[1].code == 404


def test_more_slashes_at_the_start_count_as_one() -> None:
    router = Router()
    router.delegate("//a", lambda request: "a")
    assert answer(router, "/a") == "a"
