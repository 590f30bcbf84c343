from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import reserve.apps
from reserve.errors import StartupError, UsageError
from reserve.loader.arguments import Arguments, nearest_flag
from reserve.loader.find import bundled_names, find, load_application, put_directory_first
from reserve.loader.importer import parse_target, try_import
from tests.projects import Project

FLAGS = ["--threads", "--bind", "--access-log", "--no-access-log", "--keep-alive", "--max-body", "--env"]


def args(*words: str, after: tuple[str, ...] = ()) -> Arguments:
    return Arguments(["reserve x", *words, *after], literal=len(after), reserved=FLAGS)


# ---- names ----


@pytest.mark.parametrize(
    ("text", "module", "path", "call"),
    [
        ("blog", "blog", (), None),
        ("mysite.wsgi", "mysite.wsgi", (), None),
        ("mysite.wsgi:application", "mysite.wsgi", ("application",), None),
        ("shop:site.app", "shop", ("site", "app"), None),
        ("shop:create_app()", "shop", ("create_app",), ((), ())),
        ("shop:factory.make('x', -1, debug=True)", "shop", ("factory", "make"), (("x", -1), (("debug", True),))),
        ("shop:create_app(['a', {'b': None}])", "shop", ("create_app",), ((["a", {"b": None}],), ())),
        ("my-app", "my-app", (), None),
    ],
)
def test_names(text: str, module: str, path: tuple[str, ...], call: object) -> None:
    target = parse_target(text)
    assert (target.module, target.path, target.call) == (module, path, call)


@pytest.mark.parametrize(
    "text",
    [
        "", ":app", ".blog", "a..b", "blog:", "blog:1", "blog:a b", "blog:f(x)", "blog:f(*[1])", "blog:f(**{'a': 1})",
        "blog:f()()", "blog:f().x", "blog:a[0]", "blog:a+b", "blog:(", "blog:lambda: 0", "blog:f('\0')",
        "blog:" + "(" * 9999,
        "blog:__import__('os').system('x')", "blog:f(__import__('os'))", "blog:a:b",
    ],
)  # fmt: skip
def test_malformed_names(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [("blog.py", "blog"), ("./blog.py:app", "blog:app"), ("mysite/wsgi.py", "mysite.wsgi"), ("a/b", "a.b")],
)
def test_a_file_is_no_module(text: str, right: str) -> None:
    with pytest.raises(UsageError, match=rf"looks like a file; give the name of the module, as {right}$"):
        parse_target(text)


# ---- arguments ----


def test_arguments_know_where_the_dashes_stood() -> None:
    given = args("a", "b", after=("--", "c"))
    assert given == ["reserve x", "a", "b", "--", "c"]
    assert (given.before, given.after) == (["a", "b"], ["--", "c"])
    inner = given.derive("blog", given.before[1:], given.after, reserved=["--mount"])
    assert inner == ["reserve x blog", "b", "--", "c"]
    assert (inner.before, inner.after, inner.reserved) == (["b"], ["--", "c"], (*FLAGS, "--mount"))
    inner.served.append("blog")
    assert given.served == ["blog"]


def test_a_plain_list_counts_as_before_the_dashes() -> None:
    given = Arguments.of(["reserve x", "a"])
    assert (given.before, given.after) == (["a"], [])
    assert Arguments.of(given) is given


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("--thread", "--threads"), ("--thread=4", "--threads"), ("-threads", "--threads"), ("--Threads", "--threads"),
        ("--keep_alive", "--keep-alive"), ("--keepalive", "--keep-alive"), ("--maxbody", "--max-body"),
        ("--accesslog", "--access-log"), ("--binds", "--bind"), ("--port", None), ("--verbose", None), ("-x", None),
        ("-5", None), ("--", None), ("-", None), ("--backup", None), ("--name", None), ("--end", None),
    ],
)  # fmt: skip
def test_what_resembles_an_option(word: str, near: str | None) -> None:
    assert nearest_flag(word, FLAGS) == near


# ---- finding ----


def test_bundled_names_are_the_modules_of_the_package() -> None:
    assert "http" in bundled_names()
    assert not [name for name in bundled_names() if name.startswith("_")]


def test_ours_come_first_and_a_hidden_file_is_mentioned(project: Project) -> None:
    directory = project()
    assert find("http").note == ""
    project(http="def launch(args): ...")
    found = find("http")
    assert found.module is sys.modules["reserve.apps.http"]
    assert found.note == (
        f"http is reserve's own application and hides {directory / 'http.py'}; "
        "rename that file: Python has a module http of its own"
    )
    assert find("http.server").module is None
    assert find("http:launch").module is None


def test_a_module_with_launch(project: Project) -> None:
    directory = project(finding_a="def launch(args):\n    return (args, type(args))\n")
    given = args("one", "--colour=red", after=("--threads", "4"))
    assert find("finding_a").launch(given) == (["reserve x", "one", "--colour=red", "--threads", "4"], list)
    assert given.served == [f"finding_a ({directory / 'finding_a.py'})"]


def test_dotted_names_attributes_and_factories(project: Project) -> None:
    source = """
        class site:
            app = len
        def create(*args, **named):
            return args, named
        def launch(args):
            return args
    """
    directory = project(finding_b__wsgi=source)
    given = args()
    assert load_application("finding_b.wsgi:site.app", given) is len
    assert load_application("finding_b.wsgi:create('x', n=1)", given) == (("x",), {"n": 1})
    assert load_application("finding_b.wsgi:launch", args("w")) == ["reserve x", "w"]
    assert load_application("finding_b.wsgi", args("w")) == ["reserve x", "w"]
    assert given.served[0] == f"finding_b.wsgi:site.app ({directory / 'finding_b' / 'wsgi.py'})"


def test_the_directory_is_first_on_the_path_once(project: Project) -> None:
    directory = project(colorsys="def launch(args):\n    return 'mine'\n")
    before = list(sys.path)
    put_directory_first()
    assert sys.path == before
    assert sys.path[0] == str(directory)
    shadowed = sys.modules.pop("colorsys", None)
    try:
        assert load_application("colorsys", args()) == "mine"
    finally:
        if shadowed is not None:
            sys.modules["colorsys"] = shadowed


def test_words_that_nobody_takes(project: Project) -> None:
    project(finding_c="app = len\nlaunch = None")
    with pytest.raises(UsageError, match=r"finding_c:app takes no arguments, but it was given a b c"):
        load_application("finding_c:app", args("a", "b", after=("c",)))
    with pytest.raises(UsageError, match=r"finding_c:app takes no arguments, but it was given --workers"):
        load_application("finding_c:app", args(after=("--workers",)))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("-w", "reserve works with threads; write --threads N;"),
        ("-w4", "reserve works with threads; write --threads N;"),
        ("--workers=4", "reserve works with threads; write --threads N;"),
        ("--timeout", "write --request-timeout for how long a request may run, --keep-alive for idle connections;"),
        ("--reload", "reserve does not watch files; start it again;"),
        ("--thread", "did you mean --threads?"),
        ("--xyzzy", "reserve -h lists them;"),
    ],
)
def test_an_option_that_nobody_has(project: Project, word: str, hint: str) -> None:
    project(finding_n="app = len")
    with pytest.raises(UsageError) as caught:
        load_application("finding_n:app", args(word, "4"))
    assert str(caught.value) == f"there is no server option {word}; {hint} finding_n:app takes no arguments of its own"


def test_a_word_that_resembles_a_server_option(project: Project) -> None:
    project(finding_d="def launch(args):\n    return args\n")
    with pytest.raises(UsageError) as caught:
        load_application("finding_d", args("--thread", "4"))
    assert str(caught.value) == "there is no option --thread; did you mean --threads? put it after -- to pass it on"
    assert load_application("finding_d", args("--verbose", after=("--thread", "4")))[1:] == [  # type: ignore[index]
        "--verbose", "--thread", "4",
    ]  # fmt: skip


# ---- what a mistake gets ----


def test_a_missing_module_says_where_it_looked(project: Project) -> None:
    directory = project()
    with pytest.raises(StartupError) as caught:
        load_application("finding_absent", args())
    assert str(caught.value) == (
        f"there is no module named finding_absent; looked in {directory} and the rest of the import path"
    )
    with pytest.raises(StartupError, match=r"did you mean http"):
        load_application("htttp", args())
    for name in ("finding_absent.wsgi", "finding_absent.wsgi:app", "os.finding_absent"):
        with pytest.raises(StartupError, match=rf"there is no module named {name.partition(':')[0]}; looked in"):
            load_application(name, args())


def test_a_module_without_launch_lists_what_it_has(project: Project) -> None:
    project(
        finding_e="def serve(): ...\ndef stop(): ...\n_hidden = serve\nx = 1\n", finding_f="", finding_g="app = len"
    )
    with pytest.raises(StartupError, match=r"has no launch\(args\); the callables of finding_e are: serve, stop$"):
        load_application("finding_e", args())
    with pytest.raises(StartupError, match=r"neither launch\(args\) nor application nor app; finding_f has no public"):
        load_application("finding_f", args(), attributes=("application", "app"))
    with pytest.raises(StartupError, match=r"to serve its app with WSGI write: reserve app http wsgi finding_g$"):
        load_application("finding_g", args())
    project(finding_o__app="", finding_p="app = None")
    with pytest.raises(StartupError, match=r"finding_o .*has neither launch\(args\) nor app; finding_o has no public"):
        load_application("finding_o", args(), attributes=("app",))
    with pytest.raises(StartupError, match=r"finding_p has no public callables$"):
        load_application("finding_p", args())
    with pytest.raises(StartupError, match=r"finding_e has no 'create'; the callables of finding_e are: serve, stop"):
        load_application("finding_e:create()", args())
    with pytest.raises(StartupError, match=r"finding_e\.serve has no 'app'"):
        load_application("finding_e:serve.app", args())
    with pytest.raises(StartupError, match="finding_e:x\\(\\): x is a int and cannot be called"):
        load_application("finding_e:x()", args())


def frames(error: BaseException) -> list[str]:
    return re.findall(r'File "([^"]+)", line', str(error))


@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("import finding_not_there", "ModuleNotFoundError: No module named 'finding_not_there'"),
        ("import finding_helper", "ZeroDivisionError: division by zero"),
        ("from finding_helper2 import nothing", "ImportError: cannot import name 'nothing' from 'finding_helper2'"),
        ("def broken(:", "SyntaxError: "),
        ("raise AttributeError('x')", "AttributeError: x"),
    ],
)
def test_an_import_error_shows_their_own_frames_only(project: Project, source: str, last: str) -> None:
    directory = project(finding_h=source, finding_helper="def f():\n    1 / 0\nf()\n", finding_helper2="")
    with pytest.raises(StartupError) as caught:
        load_application("finding_h", args())
    text = str(caught.value)
    assert caught.value.exit_code == 1
    assert text.startswith("importing finding_h failed:\n")
    assert text.splitlines()[-1].startswith(last)
    assert frames(caught.value)[0] == str(directory / "finding_h.py")
    assert all(name.startswith(str(directory)) for name in frames(caught.value))
    if "finding_helper" in source and "2" not in source:
        assert len(frames(caught.value)) == 3


def test_chained_errors_are_stripped_too(project: Project) -> None:
    source = """
        import importlib
        def launch(args):
            try:
                importlib.import_module("finding_nowhere")
            except ImportError as error:
                raise ValueError("bad") from error
    """
    directory = project(finding_i=source)
    with pytest.raises(StartupError) as caught:
        load_application("finding_i", args())
    text = str(caught.value)
    assert text.startswith("launch(args) of finding_i failed:\n")
    assert "No module named 'finding_nowhere'" in text
    assert text.endswith("ValueError: bad")
    assert frames(caught.value) == [str(directory / "finding_i.py")] * 2


def test_a_factory_that_takes_other_arguments(project: Project) -> None:
    project(finding_j="def create(name):\n    return name\n")
    with pytest.raises(StartupError) as caught:
        load_application("finding_j:create()", args())
    assert str(caught.value).splitlines()[0] == "calling finding_j:create() failed:"
    assert "Traceback" not in str(caught.value)
    assert "missing 1 required positional argument: 'name'" in str(caught.value)


def test_an_error_of_theirs_with_our_name_passes_unchanged(project: Project) -> None:
    source = "from reserve.errors import UsageError\ndef launch(args):\n    raise UsageError('give a colour')\n"
    project(finding_k=source)
    with pytest.raises(UsageError, match=r"^give a colour$"):
        load_application("finding_k", args())


def test_their_exit_is_no_failure(project: Project) -> None:
    project(finding_l="def launch(args):\n    raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        load_application("finding_l", args())


def test_a_package_whose_own_import_fails_is_not_called_missing(project: Project) -> None:
    directory = project(finding_m__wsgi="")
    (directory / "finding_m" / "__init__.py").write_text("import finding_m.nowhere\n")
    with pytest.raises(StartupError, match=r"^importing finding_m.wsgi failed:"):
        try_import("finding_m.wsgi")


def test_prefixes_come_after_the_import_path(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = project(
        finding_examples__one="def launch(args):\n    return 'example'\n",
        finding_examples__two="def launch(args):\n    return 'example'\n",
        two="def launch(args):\n    return 'mine'\n",
    )
    packages = ("finding_examples",)
    given = args()
    assert load_application("one", given, packages=packages) == "example"
    assert load_application("two", given, packages=packages) == "mine"
    path = os.path.join(directory, "finding_examples", "one.py")
    assert given.served == [
        f"finding_examples.one ({path}): not in this directory, but reserve's own example",
        f"two ({directory / 'two.py'})",
    ]
    with pytest.raises(StartupError, match=r"the rest of the import path, then in finding_examples$"):
        load_application("three", given, packages=packages)


def test_an_error_in_an_example_shows_its_frames() -> None:
    from reserve.loader.importer import _is_internal

    package = Path(reserve.apps.__file__).parent.parent
    assert _is_internal(str(package / "apps" / "echo.py"))
    assert _is_internal("<frozen importlib._bootstrap>")
    assert not _is_internal(str(package / "examples" / "blog" / "__init__.py"))
    assert not _is_internal(str(package.parent / "mine.py"))
