"""Names of modules and attributes, and what the user reads about mistakes in their own code."""

from __future__ import annotations

import functools
import re
import socketserver
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reserve.apps
from reserve.errors import StartupError, UsageError
from reserve.loader.find import load_application
from reserve.loader.importer import parse_target, signature_error, try_import
from tests.loader.arguments import arguments
from tests.projects import Project
from tests.test_errors import ANYTHING


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
def test_a_name_is_split_into_module_path_and_call(text: str, module: str, path: tuple[str, ...], call: object) -> None:
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
def test_a_malformed_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_target(text)


@pytest.mark.parametrize(
    ("text", "right"),
    [("blog.py", "blog"), ("./blog.py:app", "blog:app"), ("mysite/wsgi.py", "mysite.wsgi"), ("a/b", "a.b")],
)
def test_the_name_of_a_file_is_refused_with_the_name_of_its_module(text: str, right: str) -> None:
    with pytest.raises(UsageError, match=rf"looks like a file; give the name of the module, as {right}$"):
        parse_target(text)


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
def test_an_import_error_shows_only_the_frames_of_the_user(project: Project, source: str, last: str) -> None:
    directory = project(finding_h=source, finding_helper="def f():\n    1 / 0\nf()\n", finding_helper2="")
    with pytest.raises(StartupError) as caught:
        load_application("finding_h", arguments())
    text = str(caught.value)
    assert caught.value.exit_code == 1
    assert text.startswith("importing finding_h failed:\n")
    assert text.splitlines()[-1].startswith(last)
    assert frames(caught.value)[0] == str(directory / "finding_h.py")
    assert all(name.startswith(str(directory)) for name in frames(caught.value))
    if "finding_helper" in source and "2" not in source:
        assert len(frames(caught.value)) == 3


def test_a_chained_error_shows_only_the_frames_of_the_user(project: Project) -> None:
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
        load_application("finding_i", arguments())
    text = str(caught.value)
    assert text.startswith("launch(args) of finding_i failed:\n")
    assert "No module named 'finding_nowhere'" in text
    assert text.endswith("ValueError: bad")
    assert frames(caught.value) == [str(directory / "finding_i.py")] * 2


@pytest.mark.parametrize("kind", ANYTHING)
def test_an_error_that_cannot_be_described_shows_the_frames_of_the_user(
    project: Project, kind: type[BaseException]
) -> None:
    directory = project(finding_i=f"""
        import builtins
        from tests.test_errors import hostile
        raise hostile(builtins.{kind.__name__})
    """)  # fmt: skip
    with pytest.raises(StartupError) as caught:
        load_application("finding_i", arguments())
    assert str(caught.value).startswith("importing finding_i failed:\n")
    assert frames(caught.value) == [str(directory / "finding_i.py")]
    assert str(caught.value).endswith("\nHostile: (its text cannot be shown)")


@pytest.mark.parametrize("kind", ANYTHING)
def test_a_signature_that_fails_is_not_judged(kind: type[BaseException]) -> None:
    class Called:
        def __call__(self) -> None: ...

        @property
        def __signature__(self) -> Any:
            raise kind

    assert signature_error(Called(), 3) == ""


def test_a_factory_with_other_parameters_is_a_start_up_error(project: Project) -> None:
    project(finding_j="def create(name):\n    return name\n")
    with pytest.raises(StartupError) as caught:
        load_application("finding_j:create()", arguments())
    assert str(caught.value).splitlines()[0] == "calling finding_j:create() failed:"
    assert "Traceback" not in str(caught.value)
    assert "missing 1 required positional argument: 'name'" in str(caught.value)


def test_an_error_of_reserve_raised_by_the_user_passes_unchanged(project: Project) -> None:
    source = "from reserve.errors import UsageError\ndef launch(args):\n    raise UsageError('give a colour')\n"
    project(finding_k=source)
    with pytest.raises(UsageError, match=r"^give a colour$"):
        load_application("finding_k", arguments())


def test_system_exit_passes_unchanged(project: Project) -> None:
    project(finding_l="def launch(args):\n    raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        load_application("finding_l", arguments())


def test_a_package_whose_import_fails_is_not_reported_as_missing(project: Project) -> None:
    directory = project(finding_m__wsgi="")
    (directory / "finding_m" / "__init__.py").write_text("import finding_m.nowhere\n")
    with pytest.raises(StartupError, match=r"^importing finding_m.wsgi failed:"):
        try_import("finding_m.wsgi")


def test_the_examples_are_not_internal() -> None:
    from reserve.loader.importer import _is_internal

    package = Path(reserve.apps.__file__).parent.parent
    assert _is_internal(str(package / "apps" / "echo.py"))
    assert _is_internal("<frozen importlib._bootstrap>")
    assert not _is_internal(str(package / "examples" / "blog" / "__init__.py"))
    assert not _is_internal(str(package.parent / "mine.py"))


def two(environ: Any, start_response: Any) -> None: ...


def three(socket: Any, address: Any, server: Any) -> None: ...


@functools.wraps(two)
def wrapped(*args: Any) -> None: ...


class Called:
    def __call__(self, environ: Any, start_response: Any) -> None: ...


@pytest.mark.parametrize(
    ("called", "count", "can"),
    [
        (two, 2, True),
        (two, 3, False),
        (three, 2, False),
        (three, 3, True),
        (wrapped, 3, True),
        (Called(), 2, True),
        (Called(), 3, False),
        (functools.partial(three, None), 2, True),
        (socketserver.BaseRequestHandler, 3, True),
        (dict, 3, True),  # it hides what it takes
    ],
)
def test_whether_a_callable_takes_so_many_arguments(called: Callable[..., Any], count: int, can: bool) -> None:
    assert (signature_error(called, count) == "") is can
