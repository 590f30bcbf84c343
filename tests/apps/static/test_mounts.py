"""From ``--static`` and ``http static DIR`` to the folders that are served, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reserve.apps._static.mounts import static_mounts
from reserve.apps.http.launch import launch
from reserve.apps.http.settings import HTTPSettings
from reserve.apps.websocket.launch import refuse_http
from reserve.errors import UsageError
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.dispatch import PathInfoDispatcher
from tests.apps.http.doubles import hello


def served(path: str, app: Any = hello, *, root: str = "", application: bool = True, **settings: Any) -> str | None:
    """Below which prefix a folder is that gets a request for ``path``."""
    mounts = static_mounts(HTTPSettings(**settings), app, root_folder=root, has_application=application)
    if mounts is None:
        return None
    found = mounts.find({"PATH_INFO": path, "SCRIPT_NAME": ""})
    return None if found is None else found.script_name


def test_without_an_option_there_is_none() -> None:
    assert served("/") is None


def test_folders_beside_an_application_and_beside_mounts(tmp_path: Path) -> None:
    static = (f"/a/={tmp_path}", f"/a/b/c={tmp_path}", f"/caf\u00e9={tmp_path}")
    assert [served(path, static=static) for path in ("/a/x", "/a/b/c/x", "/caf\xc3\xa9/x", "/x")] == [
        "/a", "/a/b/c", "/caf\xc3\xa9", None,
    ]  # fmt: skip
    for app in (PathInfoDispatcher({"/": hello, "/a/b": hello}), PathInfoDispatcher({"/a/b": hello})):
        for one in (app, CallingThread(app)):
            assert [served(path, one, static=static) for path in ("/a/x", "/a/b/x", "/a/b/c/x")] == [
                "/a",
                None,
                "/a/b/c",
            ]


def test_a_folder_at_the_root(tmp_path: Path) -> None:
    assert served("/x", root=str(tmp_path), application=False) == ""
    assert served("/x", refuse_http, application=False, static=(f"/={tmp_path}",)) == ""
    assert served("/x", static=(f"/={tmp_path}",), static_missing="app") == ""


@pytest.mark.parametrize(
    ("static", "message"),
    [
        (("/a=/no/such/folder",), "/no/such/folder is not a directory"),
        (("/a={file}",), "is not a directory"),
        (("/a={dir}", "/a/={dir}"), "two directories would be served at /a/"),
        (("/={dir}",), "would both be served at /; with --static-missing app"),
        (("/m={dir}",), "would both be served at /m; with --static-missing app"),
        (("/a%20b={dir}",), "without %XX"),
        (("//a={dir}",), "empty segment"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path: Path, static: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").write_text("x")
    given = tuple(text.format(dir=tmp_path, file=tmp_path / "file") for text in static)
    with pytest.raises(UsageError, match=message):
        served("/", PathInfoDispatcher({"/": hello, "/m": hello}), static=given)


@pytest.mark.parametrize("value", [("a=b",), ("/a",), ("/a=",), ("=b",), ("",), "/a=b", ["/a=b"], (1,)])
def test_a_malformed_value_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match=r"--static.*/PREFIX=DIR"):
        HTTPSettings(static=value)


def test_the_argument_static(tmp_path: Path) -> None:
    application = launch(["reserve http", "static", str(tmp_path)])
    assert application.static is not None
    found = application.static.find({"PATH_INFO": "/x", "SCRIPT_NAME": ""})
    assert found is not None
    application.configure({"static_listing": True})
    assert application.static is not None
    assert application.static.find({"PATH_INFO": "/x", "SCRIPT_NAME": ""}) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["static"], "app http static takes one directory; it got nothing; write: reserve app http static DIR"),
        (["static", "a", "b"], "it got a b"),
        (["static", "/no/such/folder"], "/no/such/folder is not a directory"),
        (["static", "--listing", "a"], "app http takes no --listing"),
        (["static", ".", "--mount", "/=blog"], "would be mounted at /"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        launch(["reserve http", *arguments])
    assert message in str(caught.value)
