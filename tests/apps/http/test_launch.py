"""``reserve app http wsgi NAME``: from arguments to an HTTP application."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from reserve.apps.http import launch
from reserve.apps.http.settings import HTTPSettings
from reserve.errors import StartupError, UsageError
from reserve.loader.arguments import Arguments
from tests.projects import Project

APP = "def app(environ, start_response):\n    return []\n"
LAUNCH = """
    def launch(args):
        def app(environ, start_response):
            return []
        app.args = args
        return app
"""


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for the application and the gateways, which only keep their parameters."""

    class HTTPApp:
        def __init__(self, gateway: Any, settings: HTTPSettings) -> None:
            self.gateway = gateway
            self.settings = settings

    class WSGIGateway:
        def __init__(self, app: Any) -> None:
            self.app = app

    for name, content in (
        ("reserve.apps.http.app", {"HTTPApp": HTTPApp}),
        ("reserve.gateways.wsgi", {"WSGIGateway": WSGIGateway}),
        ("reserve.gateways.dispatch", {"PathInfoDispatcher": dict}),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)


def arguments(*before: str, after: tuple[str, ...] = ()) -> Arguments:
    """Arguments before and after ``--``."""
    return Arguments(["reserve http", *before, *after], literal=len(after), reserved=["--threads", "--bind"])


def launched(*before: str, after: tuple[str, ...] = ()) -> Any:
    """The WSGI application, or the mapping of several, that :func:`launch` makes."""
    app: Any = launch(arguments(*before, after=after))
    assert app.settings == HTTPSettings()
    return app.gateway.app


def test_a_module_with_launch_gets_its_arguments(project: Project) -> None:
    project(launch_a=LAUNCH)
    app = launched("wsgi", "launch_a", "--colour", "red", after=("--threads", "2", "--mount", "/x=y"))
    assert app.args == ["reserve http wsgi launch_a", "--colour", "red", "--threads", "2", "--mount", "/x=y"]
    assert type(app.args) is list


def test_arguments_may_be_a_plain_list(project: Project) -> None:
    project(launch_a2=LAUNCH)
    app: Any = launch(["reserve http", "wsgi", "launch_a2", "x"])
    assert app.gateway.app.args == ["reserve http wsgi launch_a2", "x"]


def test_a_module_without_launch_serves_application_or_else_app(project: Project) -> None:
    project(
        launch_b=APP + "application = app\ndel app\n", launch_c=APP, launch_d=APP + "application = lambda e, s: 1\n"
    )
    assert launched("wsgi", "launch_b").__name__ == "app"
    assert launched("wsgi", "launch_c").__name__ == "app"
    assert launched("wsgi", "launch_d").__name__ == "<lambda>"
    args = arguments("wsgi", "launch_d")
    launch(args)
    assert args.served[0].startswith("launch_d:application (")


def test_launch_comes_before_application(project: Project) -> None:
    project(launch_e=LAUNCH + "    application = None\n")
    assert launched("wsgi", "launch_e").args == ["reserve http wsgi launch_e"]


def test_a_name_may_be_an_attribute_or_a_call_of_a_factory(project: Project) -> None:
    project(launch_f=APP + "def create(name):\n    make = lambda e, s: name\n    return make\n")
    assert launched("wsgi", "launch_f:app").__name__ == "app"
    assert launched("wsgi", "launch_f:create('x')")(0, 0) == "x"


def test_mounts_may_stand_anywhere_before_the_dashes(project: Project) -> None:
    project(launch_g=LAUNCH, launch_h=APP)
    args = arguments("--mount", "/a=launch_h", "wsgi", "launch_g", "x", "--mount=/b/=launch_h:app", after=("y",))
    app: Any = launch(args)
    mapping = app.gateway.app
    assert list(mapping) == ["/", "/a", "/b"]
    assert mapping["/"].args == ["reserve http wsgi launch_g", "x", "y"]
    assert [line.partition(" (")[0] for line in args.served] == [
        "/ -> launch_g", "/a -> launch_h:app", "/b -> launch_h:app",
    ]  # fmt: skip


def test_mounts_need_no_name(project: Project) -> None:
    project(launch_i=LAUNCH)
    mapping = launched("wsgi", "--mount", "/=launch_i", "--mount", "/x=launch_i")
    assert mapping["/"].args == mapping["/x"].args == ["reserve http wsgi launch_i"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ((), (), "the kind of application is missing (wsgi, static, status); write: reserve app http wsgi NAME"),
        (("blog",), (), "'blog' is none of its kinds (wsgi, static, status); write: reserve app http wsgi NAME"),
        (("wsgi",), (), "name is missing; write: reserve app http wsgi NAME"),
        (("--mount", "/=x"), (), "the kind of application is missing"),
        (("--foo", "wsgi", "blog"), (), "app http takes no --foo; it takes:\nwsgi NAME"),
        (("wsgi", "--foo", "blog"), (), "app http takes no --foo; it takes:\nwsgi NAME"),
        (("wsgi", "--mont", "/=x"), (), "app http takes no --mont; did you mean --mount?"),
        (("wsgi", "--thread", "4", "blog"), (), "app http takes no --thread; did you mean --threads?"),
        (("wsgi", "--mount"), (), "--mount needs a value: /PREFIX=NAME, as /blog=blog"),
        (("wsgi", "--mount="), (), "--mount wants /PREFIX=NAME, as /blog=blog; it got ''"),
        (("wsgi", "-w", "4", "blog"), (), "app http takes no -w; write --processes N"),
        (("wsgi", "--mount", "blog"), (), "it got 'blog'"),
        (("wsgi", "--mount", "/blog"), (), "it got '/blog'"),
        (("wsgi", "--mount", "blog=blog"), (), "it got 'blog=blog'"),
        (("wsgi", "--mount", "/a=b", "--mount", "/a/=c"), (), "--mount /a is given twice, for b and for c"),
        (("wsgi", "blog", "--mount", "/=site"), (), "both blog and site would be mounted at /"),
        (("wsgi", "--mount", "/=site"), ("x",), "with only --mount, no application takes the arguments after --: x"),
    ],
)
def test_wrong_arguments(before: tuple[str, ...], after: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        launch(arguments(*before, after=after))
    assert message in str(caught.value)


def test_an_argument_of_the_application_that_resembles_an_option_is_an_error(project: Project) -> None:
    project(launch_j=LAUNCH)
    for argument, near in (("--thread=4", "--threads"), ("--mounts", "--mount")):
        with pytest.raises(UsageError, match=rf"did you mean {near}\? put it after -- to pass it on"):
            launch(arguments("wsgi", "launch_j", argument))
    assert launched("wsgi", "launch_j", after=("--thread=4",)).args[1:] == ["--thread=4"]


def test_a_name_that_is_no_wsgi_application_is_an_error(project: Project) -> None:
    project(launch_k="def launch(args): ...\nnumber = 5\nnothing = None\ndef create():\n    ...\nclass C:\n    pass\n")
    with pytest.raises(StartupError, match=r"launch_k gave None.*did its launch\(args\) forget to return"):
        launch(arguments("wsgi", "launch_k"))
    with pytest.raises(StartupError, match=r"launch_k:create\(\) gave None.*; did create\(\) forget to return the app"):
        launch(arguments("wsgi", "launch_k:create()"))
    with pytest.raises(
        StartupError, match=r"launch_k:nothing gave None.*; nothing is None once the module is imported$"
    ):
        launch(arguments("wsgi", "launch_k:nothing"))
    project(launch_n="app = None", launch_o="def app(socket, client_address, server): ...")
    with pytest.raises(StartupError, match=r"launch_n gave None.*; app is None once the module is imported$"):
        launch(arguments("wsgi", "launch_n"))
    with pytest.raises(StartupError, match=r"; for a handler\(.*\) write: reserve app launch_o:app$"):
        launch(arguments("wsgi", "launch_o:app"))
    with pytest.raises(StartupError, match=r"launch_k:number gave 5, which is not a WSGI application$"):
        launch(arguments("wsgi", "launch_k:number"))
    with pytest.raises(StartupError, match=r'too many positional arguments; for a factory write "launch_k:create\(\)"'):
        launch(arguments("wsgi", "launch_k:create"))


def test_a_callable_without_a_signature_is_accepted(project: Project) -> None:
    project(launch_l="app = dict\n")  # inspect cannot tell what dict() takes
    assert launched("wsgi", "launch_l:app") is dict


def test_a_module_without_an_application_is_an_error(project: Project) -> None:
    project(launch_m="def main(): ...\n")
    with pytest.raises(StartupError, match=r"neither launch\(args\) nor application nor app; the callables .*: main"):
        launch(arguments("wsgi", "launch_m"))
    with pytest.raises(StartupError, match=r"no module named launch_nowhere; looked in .*, then in reserve\.examples$"):
        launch(arguments("wsgi", "launch_nowhere"))
