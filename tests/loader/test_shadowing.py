"""Local files and modules of Python with the same name: the messages for the user."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from reserve.errors import StartupError
from reserve.loader.arguments import Arguments
from reserve.loader.find import find, load_application
from reserve.loader.shadowing import explain_shadowing
from tests.projects import Project

APP = "def app(environ, start_response):\n    return []\n"


def refusal(name: str) -> str:
    with pytest.raises(StartupError) as caught:
        load_application(name, Arguments(["reserve x"]))
    assert caught.value.exit_code == 1
    return str(caught.value)


# ---- a file that a loaded module hides ----


@pytest.mark.parametrize("name", ["site:app", "site"])
def test_a_file_that_a_loaded_module_hides_has_to_be_renamed(project: Project, name: str) -> None:
    project(site=APP)
    import site

    assert refusal(name) == (
        f"the module site is already loaded from {site.__file__}; ./site.py is hidden by it: rename it"
    )


def test_a_file_that_a_built_in_module_hides_has_to_be_renamed(project: Project) -> None:
    project(time=APP)
    assert refusal("time:app") == "the module time is built into Python; ./time.py is hidden by it: rename it"


def test_a_directory_that_a_loaded_module_hides_has_to_be_renamed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    directory = project(json__wsgi=APP)
    message = f"the module json is already loaded from {json.__file__}; ./json is hidden by it: rename it"
    assert refusal("json.wsgi:app") == message
    (directory / "json" / "__init__.py").write_text("")
    assert refusal("json.wsgi:app") == message
    # A directory without __init__.py is hidden by what is not loaded yet, too.
    project(this__wsgi=APP)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    assert "; ./this is hidden by it: rename it" in refusal("this.wsgi:app")
    monkeypatch.delitem(sys.modules, "this", raising=False)


def test_a_file_that_reserve_itself_hides_has_to_be_renamed(project: Project) -> None:
    import reserve

    project(reserve=APP)
    assert refusal("reserve:app") == (
        f"the module reserve is already loaded from {reserve.__file__}; ./reserve.py is hidden by it: rename it"
    )


def test_a_clone_of_reserve_in_the_working_directory_is_accepted(project: Project) -> None:
    directory = project(reserve__other="")
    (directory / "reserve" / "__init__.py").write_text("")
    blog = load_application("reserve.examples.blog", Arguments(["reserve x"]))
    assert callable(blog)


def test_a_module_that_hides_nothing_is_served(project: Project) -> None:
    project(hiding_a=APP)
    for _ in range(2):  # the second time it is loaded, from there
        assert callable(load_application("hiding_a:app", Arguments(["reserve x"])))
    import posixpath

    assert load_application("posixpath:join", Arguments(["reserve x"])) is posixpath.join


# ---- a file that hides a module of Python ----


def failing(module: str, statement: str, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        exec(compile(statement, "/somewhere/else.py", "exec"), {})
    return caught.value


@pytest.mark.parametrize(
    ("source", "statement"),
    [
        (APP, "from colorsys import rgb_to_hsv"),
        (APP, "import colorsys; colorsys.rgb_to_hsv"),
        (APP, "import colorsys.part"),
        ("import colorsys\ncolorsys.rgb_to_hsv", "import colorsys"),
        ("def broken(:", "import colorsys"),
        (APP, "try:\n    from colorsys import x\nexcept ImportError as e:\n    raise ValueError('no') from e"),
    ],
)
def test_a_file_that_hides_a_module_of_python_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch, source: str, statement: str
) -> None:
    project(colorsys=source)
    error = failing("colorsys", statement, monkeypatch)
    assert explain_shadowing(error) == "./colorsys.py hides Python's own module colorsys: rename it"


def test_a_file_that_fails_itself_is_named_only_if_reserve_imported_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(colorsys="{}['missing']")
    error = failing("colorsys", "import colorsys", monkeypatch)
    assert explain_shadowing(error) == ""
    assert explain_shadowing(error, imported=True) == "./colorsys.py hides Python's own module colorsys: rename it"


@pytest.mark.parametrize(
    "statement",
    ["from colorsys import nothing", "import colorsys; colorsys.nothing", "import hiding_nowhere", "1 / 0", "None.x"],
)
def test_other_errors_get_no_explanation(project: Project, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    directory = project(hiding_b="")
    (directory / "colorsys").mkdir()  # without __init__.py it hides nothing
    error = failing("colorsys", statement, monkeypatch)
    assert explain_shadowing(error, imported=True) == ""


def test_the_report_of_an_import_error_ends_with_the_explanation(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(colorsys=APP, hiding_c="from colorsys import rgb_to_hsv")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    lines = refusal("hiding_c:app").splitlines()
    assert lines[0] == "importing hiding_c failed:"
    assert lines[-1] == "./colorsys.py hides Python's own module colorsys: rename it"


# ---- a file that a bundled application hides ----


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("def launch(args): ...", "for that file write jsons:launch"),
        ("def launch(args): ...\napp = 1", "for that file write jsons:launch"),
        ("app = 1", "for that file write http wsgi jsons:app"),
        ("application: object = 1\napp = 2", "for that file write http wsgi jsons:application"),
        (APP, "for that file write http wsgi jsons:app"),
        ("", "for that file write jsons:launch"),
        ("def broken(:", "for that file write jsons:launch"),
    ],
)
def test_the_advice_about_a_hidden_file_fits_its_content(project: Project, source: str, advice: str) -> None:
    directory = project(jsons=source)
    application = find("jsons")
    assert isinstance(application.module, ModuleType)
    assert application.note == f"jsons is reserve's own application and hides {directory / 'jsons.py'}; {advice}"
