"""Several applications on one server, and several servers in one process."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.serving import PATIENCE, SITES, clean_environ, fetch

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
    "words", [("portal",), MOUNTS, ("portal:site", *MOUNTS[2:])], ids=["dispatcher", "mounts", "name and mounts"]
)
def test_applications_by_path(serve: Serve, words: tuple[str, ...]) -> None:
    with serve("app", "http", "wsgi", *words) as server, server.client() as client:
        assert [fetch(client, "GET", path)[2].decode() for path, _ in PATHS] == [answer for _, answer in PATHS]


def test_below_a_root_path(serve: Serve) -> None:
    with serve("app", "http", "wsgi", "portal", "--root-path", "/under") as server, server.client() as client:
        assert fetch(client, "GET", "/under/shop/x")[2] == b"shop '/under/shop' '/x'"


def test_the_blog_beside_flask(serve: Serve, tmp_path: object) -> None:
    mounts = ["--mount", "/flask=flask_site"]
    with (
        serve("app", "http", "wsgi", "blog", *mounts, "--", "--data", str(tmp_path)) as server,
        server.client() as client,
    ):
        assert "    and /flask -> flask_site:app" in "\n".join(server.banner)
        assert b"A blog on reserve" in fetch(client, "GET", "/")[2]
        assert json.loads(fetch(client, "GET", "/flask/post/1/x")[2])["rest"] == "x"


def test_a_program_with_two_servers(installed: Installed) -> None:
    done = subprocess.run(
        [installed.python, str(SITES / "embedding.py")],
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "200 True",
        "200 True",
        "LOUD",
        "one stopped, the other serves: 1",
        "STILL",
        "threads left: 1",
        "descriptors left: True",
        "handlers left: True",
        "installed: True",
    ]
