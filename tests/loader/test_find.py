"""From the name of an application to the application."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import reserve
from reserve.errors import StartupError, UsageError
from reserve.loader.find import (
    application_names,
    bundled_names,
    complete_words,
    find,
    load_application,
    put_directory_first,
)
from tests.loader.arguments import arguments
from tests.projects import Project


def test_bundled_names_are_the_public_modules_of_the_package() -> None:
    assert "http" in bundled_names()
    assert not [name for name in bundled_names() if name.startswith("_")]


def test_a_bundled_application_comes_first_and_a_hidden_file_is_mentioned(project: Project) -> None:
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


def test_an_example_that_is_a_handler_has_a_name_and_hides_nothing(project: Project) -> None:
    project()
    examples = Path(reserve.__file__).parent / "examples"
    names = {path.stem for path in examples.iterdir() if not path.name.startswith("_")}
    handlers = names - {"blog", "datebook", "trouble"}  # these are WSGI applications
    assert set(application_names()) - set(bundled_names()) == handlers
    for name in handlers:
        application = find(name)
        assert application.module is sys.modules[f"reserve.examples.{name}"]
        assert application.arguments.startswith("--")
        assert callable(application.launch(arguments()))
        assert find(f"{name}:launch").module is None
    project(chat="def launch(args):\n    return 'mine'\n")
    found = find("chat")
    assert (found.module, found.note, found.arguments) == (None, "", "")
    assert found.launch(arguments()) == "mine"


def test_the_name_of_an_example_is_completed_and_corrected(project: Project) -> None:
    project()
    assert complete_words(["chat", "--max-line", "5"]) == ["chat", "--max-line", "5"]
    with pytest.raises(StartupError) as caught:
        load_application("miniredi", arguments("--max-value", "5"))
    assert caught.value.correction is not None
    assert caught.value.correction.right == ("miniredis", "--max-value", "5")


def test_launch_gets_a_plain_list_of_arguments(project: Project) -> None:
    directory = project(finding_a="def launch(args):\n    return (args, type(args))\n")
    args = arguments("one", "--colour=red", after=("--threads", "4"))
    assert find("finding_a").launch(args) == (["reserve x", "one", "--colour=red", "--threads", "4"], list)
    assert args.served == [f"finding_a ({directory / 'finding_a.py'})"]


def test_attributes_and_factories_of_a_dotted_module_are_resolved(project: Project) -> None:
    source = """
        class site:
            app = len
        def create(*args, **named):
            return args, named
        def launch(args):
            return args
    """
    directory = project(finding_b__wsgi=source)
    args = arguments()
    assert load_application("finding_b.wsgi:site.app", args) is len
    assert load_application("finding_b.wsgi:create('x', n=1)", args) == (("x",), {"n": 1})
    assert load_application("finding_b.wsgi:launch", arguments("w")) == ["reserve x", "w"]
    assert load_application("finding_b.wsgi", arguments("w")) == ["reserve x", "w"]
    assert args.served[0] == f"finding_b.wsgi:site.app ({directory / 'finding_b' / 'wsgi.py'})"


def test_the_working_directory_is_first_on_the_path_once(project: Project) -> None:
    directory = project(colorsys="def launch(args):\n    return 'mine'\n")
    before = list(sys.path)
    put_directory_first()
    assert sys.path == before
    assert sys.path[0] == str(directory)
    shadowed = sys.modules.pop("colorsys", None)
    try:
        assert load_application("colorsys", arguments()) == "mine"
    finally:
        if shadowed is not None:
            sys.modules["colorsys"] = shadowed


def test_arguments_for_an_attribute_are_refused(project: Project) -> None:
    project(finding_c="app = len\nlaunch = None")
    with pytest.raises(UsageError, match=r"finding_c:app takes no arguments, but it was given a b c"):
        load_application("finding_c:app", arguments("a", "b", after=("c",)))
    with pytest.raises(UsageError, match=r"finding_c:app takes no arguments, but it was given --workers"):
        load_application("finding_c:app", arguments(after=("--workers",)))


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("-w", "write --processes N;"),
        ("-w4", "write --processes N;"),
        ("--workers=4", "write --processes N;"),
        ("--timeout", "write --request-timeout for how long a request may run, --keep-alive for idle connections;"),
        ("--reload-delay", "--reload and --reload-include PATTERN say what is watched, and nothing has to be tuned;"),
        ("--thread", "did you mean --threads?"),
        ("--xyzzy", "reserve --help-all lists them;"),
    ],
)
def test_an_unknown_option_for_an_attribute_is_refused_with_a_hint(project: Project, argument: str, hint: str) -> None:
    project(finding_n="app = len")
    with pytest.raises(UsageError) as caught:
        load_application("finding_n:app", arguments(argument, "4"))
    assert (
        str(caught.value) == f"there is no server option {argument}; {hint} finding_n:app takes no arguments of its own"
    )


def test_an_argument_that_resembles_a_server_option_is_refused(project: Project) -> None:
    project(finding_d="def launch(args):\n    return args\n")
    with pytest.raises(UsageError) as caught:
        load_application("finding_d", arguments("--thread", "4"))
    assert str(caught.value) == "there is no option --thread; did you mean --threads? put it after -- to pass it on"
    assert load_application("finding_d", arguments("--verbose", after=("--thread", "4")))[1:] == [  # type: ignore[index]
        "--verbose", "--thread", "4",
    ]  # fmt: skip


def test_the_message_about_a_missing_module_lists_where_it_was_looked_for(project: Project) -> None:
    directory = project()
    with pytest.raises(StartupError) as caught:
        load_application("finding_absent", arguments())
    assert str(caught.value) == (
        f"there is no module named finding_absent; looked in {directory} and the rest of the import path"
    )
    with pytest.raises(StartupError, match=r"did you mean http"):
        load_application("htttp", arguments())
    for name in ("finding_absent.wsgi", "finding_absent.wsgi:app", "os.finding_absent"):
        with pytest.raises(StartupError, match=rf"there is no module named {name.partition(':')[0]}; looked in"):
            load_application(name, arguments())


def test_the_message_about_a_missing_launch_lists_the_callables(project: Project) -> None:
    project(
        finding_e="def serve(): ...\ndef stop(): ...\n_hidden = serve\nx = 1\n", finding_f="", finding_g="app = len"
    )
    with pytest.raises(StartupError, match=r"has no launch\(args\); the callables of finding_e are: serve, stop$"):
        load_application("finding_e", arguments())
    with pytest.raises(StartupError, match=r"neither launch\(args\) nor application nor app; finding_f has no public"):
        load_application("finding_f", arguments(), attributes=("application", "app"))
    with pytest.raises(StartupError, match=r"to serve its app with WSGI write: reserve app http wsgi finding_g$"):
        load_application("finding_g", arguments())
    project(finding_o__app="", finding_p="app = None")
    with pytest.raises(StartupError, match=r"finding_o .*has neither launch\(args\) nor app; finding_o has no public"):
        load_application("finding_o", arguments(), attributes=("app",))
    with pytest.raises(StartupError, match=r"finding_p has no public callables$"):
        load_application("finding_p", arguments())
    with pytest.raises(StartupError, match=r"finding_e has no 'create'; the callables of finding_e are: serve, stop"):
        load_application("finding_e:create()", arguments())
    with pytest.raises(StartupError, match=r"finding_e\.serve has no 'app'"):
        load_application("finding_e:serve.app", arguments())
    with pytest.raises(StartupError, match="finding_e:x\\(\\): x is a int and cannot be called"):
        load_application("finding_e:x()", arguments())


def test_packages_are_searched_after_the_import_path(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = project(
        finding_examples__one="def launch(args):\n    return 'example'\n",
        finding_examples__two="def launch(args):\n    return 'example'\n",
        finding_examples__four="def launch(args):\n    return 'example'\n",
        two="def launch(args):\n    return 'mine'\n",
    )
    (directory / "four").mkdir()  # a directory of data, for example; Python imports it as a package without a file
    packages = ("finding_examples",)
    assert load_application("four", arguments(), packages=packages) == "example"
    args = arguments()
    assert load_application("one", args, packages=packages) == "example"
    assert load_application("two", args, packages=packages) == "mine"
    path = os.path.join(directory, "finding_examples", "one.py")
    assert args.served == [
        f"finding_examples.one ({path}): not in this directory, but reserve's own example",
        f"two ({directory / 'two.py'})",
    ]
    with pytest.raises(StartupError, match=r"the rest of the import path, then in finding_examples$"):
        load_application("three", args, packages=packages)
