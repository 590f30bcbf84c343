"""Several applications on one server, and several servers in one process."""

from __future__ import annotations

import json

import pytest

from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import SITES, fetch

PATHS = [
    ("/", "site '' '/'"),
    ("/elsewhere/x", "site '' '/elsewhere/x'"),
    ("/shopping", "site '' '/shopping'"),
    ("/shop", "shop '/shop' ''"),
    ("/shop/", "shop '/shop' '/'"),
    ("/shop/wiki/a%20b", "wiki '/shop/wiki' '/a b'"),
    ("/shop/wikis", "shop '/shop' '/wikis'"),
]
MOUNTS = ("--mount", "/=portal:site", "--mount=/shop=portal:shop", "--mount", "/shop/wiki=portal:wiki")


@pytest.mark.parametrize(
    "arguments", [("portal",), MOUNTS, ("portal:site", *MOUNTS[2:])], ids=["dispatcher", "mounts", "name and mounts"]
)
def test_the_path_selects_the_application(serve: Serve, arguments: tuple[str, ...]) -> None:
    with serve("app", "http", "wsgi", *arguments) as server, server.client() as client:
        assert [fetch(client, "GET", path)[2].decode() for path, _ in PATHS] == [body for _, body in PATHS]


def test_mounted_applications_see_the_root_path(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "portal", "--root-path", "/under") as server, server.client() as client:
        assert fetch(client, "GET", "/under/shop/x")[2] == b"shop '/under/shop' '/x'"


def test_the_blog_and_flask_share_a_server(serve: Serve, tmp_path: object) -> None:
    mounts = ["--mount", "/flask=flask_site"]
    with (
        serve("app", "http", "wsgi", "blog", *mounts, "--", "--data", str(tmp_path)) as server,
        server.client() as client,
    ):
        assert "    and /flask -> flask_site:app" in "\n".join(server.banner)
        assert b"A blog on reserve" in fetch(client, "GET", "/")[2]
        assert json.loads(fetch(client, "GET", "/flask/post/1/x")[2])["rest"] == "x"


def test_a_program_runs_two_servers(installed: Installed) -> None:
    result = run([installed.python, str(SITES / "embedding.py")], text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "200 True",
        "200 True",
        "LOUD",
        "threads of the other server after one has stopped: 1",
        "STILL",
        "threads at the end: 1",
        "same descriptors: True",
        "same signal handlers: True",
        "installed: True",
    ]
