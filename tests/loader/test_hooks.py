"""Names of hooks, and what the user reads about mistakes in them."""

from __future__ import annotations

import re

import pytest

from reserve.errors import Correction, StartupError, UsageError
from reserve.loader.hooks import check_hook, load_hook
from tests.projects import Project

SOURCE = """
    def ready(): pass
    def ended(request): pass
    async def later(): pass
    class Group:
        def method(self): pass
    group = Group()
    number = 1
"""


@pytest.mark.parametrize(("name", "arguments"), [("ready", 0), ("ended", 1), ("group.method", 0), ("Group", 0)])
def test_a_hook_is_imported_and_not_called(project: Project, name: str, arguments: int) -> None:
    project(shop=SOURCE)
    assert callable(load_hook(f"shop:{name}", "--on-ready", "--on-ready", arguments))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shop", "'shop' does not name a function; write module:function without parentheses"),
        ("shop:ready()", "'shop:ready()' does not name a function"),
        ("shop.py:ready", "'shop.py:ready' looks like a file; give the name of the module, as shop:ready"),
        ("shop:", "after the colon stands a name"),
    ],
)
def test_a_malformed_name_is_refused_without_an_import(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^--on-ready: .*{re.escape(message)}"):
        check_hook(name, "--on-ready")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent:ready", "there is no module named absent; looked in "),
        ("shop:absent", "shop has no 'absent'; the callables of shop are: Group, ended, later, ready"),
        ("shop:number", "shop:number is 1, which cannot be called; the callables of shop are"),
        ("shop:later", "shop:later is async, and a hook is an ordinary function"),
        ("shop:ended", "shop:ended cannot be called with no arguments: missing a required argument: 'request'"),
        ("exits:ready", "importing exits ended the process before the server started: sys.exit(3), in "),
    ],
)
def test_a_hook_that_cannot_be_called_is_explained(project: Project, name: str, message: str) -> None:
    project(shop=SOURCE, exits="import sys\nsys.exit(3)\n")
    with pytest.raises(StartupError, match=rf"^--on-ready: {re.escape(message)}"):
        load_hook(name, "--on-ready", "--on-ready", 0)


def test_the_hook_for_requests_takes_one_argument(project: Project) -> None:
    project(shop=SOURCE)
    with pytest.raises(StartupError, match=r"shop:ready cannot be called with one argument, the reserve\.RequestEnd: "):
        load_hook("shop:ready", "--on-request-end", "--on-request-end", 1)


def test_an_error_in_the_module_shows_the_frames_of_the_user(project: Project) -> None:
    project(shop="def compute():\n    return 1 / 0\n\ncompute()\n")
    with pytest.raises(StartupError) as caught:
        load_hook("shop:ready", "--on-ready", "--on-ready", 0)
    text = str(caught.value)
    assert text.startswith("--on-ready: importing shop failed:\nTraceback (most recent call last):\n")
    assert re.findall(r'File ".*/(\w+)\.py", line (\d)', text) == [("shop", "4"), ("shop", "2")]
    assert text.endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(("wrong", "right"), [("shop:redy", "shop:ready"), ("shp:ready", "shop:ready")])
def test_a_misspelt_name_has_a_correction(project: Project, wrong: str, right: str) -> None:
    project(shop=SOURCE)
    with pytest.raises(StartupError) as caught:
        load_hook(wrong, "--on-ready", "--on-ready", 0)
    assert caught.value.correction == Correction(option="--on-ready", wrong=(wrong,), right=(right,))
