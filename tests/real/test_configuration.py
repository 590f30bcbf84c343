"""The installed command with its options from files, the environment, PORT and the configuration of another server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.real.installing import Installed
from tests.real.processes import clean_environ, run
from tests.real.serving import SITES, ServerProcess, fetch

LINE = ("app", "http", "wsgi", "everything")


def check(installed: Installed, *argv: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return run([installed.reserve, "check-config", *argv], cwd=cwd, env=clean_environ(**environ), text=True)


def test_the_order_of_the_places(installed: Installed, tmp_path: Path) -> None:
    def source(*argv: str, **environ: str) -> str:
        done = check(installed, *argv, cwd=tmp_path, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return next(re.sub(" +", " ", line) for line in done.stdout.splitlines() if "threads = " in line)

    assert source() == "# threads = 16 # default"
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'shop'\n\n[tool.reserve]\nthreads = 2\n")
    assert source() == f"threads = 2 # threads in {tmp_path}/pyproject.toml:5 [tool.reserve]"
    (tmp_path / "reserve.toml").write_text("[server]\nthreads = 3\n")
    assert source() == f"threads = 3 # threads in {tmp_path}/reserve.toml:2 [server]"
    (tmp_path / "other.toml").write_text("# other\n\n[server]\nthreads = 4\n")
    assert source(RESERVE_CONFIG="other.toml") == f"threads = 4 # threads in {tmp_path}/other.toml:4 [server]"
    assert source("--config", "other.toml").startswith("threads = 4 # threads in ")
    assert source("--config", "other.toml", RESERVE_THREADS="5").endswith("# the environment variable RESERVE_THREADS")
    assert source("--threads", "6", RESERVE_THREADS="5") == "threads = 6 # --threads"


@pytest.mark.parametrize("argv", [("check-config",), LINE])
def test_a_start_and_check_config_refuse_the_same_mistakes(
    installed: Installed, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    for text, code, message in (
        ("[server]\n\ntheads = 4\n", 2, "theads in {}:3 [server] is not an option; did you mean threads?"),
        ("[server]\nthreads = 0\n", 2, "threads in {}:2 [server] is 0; allowed is a whole number from 1 to 4096"),
        ("[serve]\n", 2, "{}:1 has 'serve' at its top level; did you mean [server]?"),
        ("[server", 2, "{} is not valid TOML: "),
        ("[server]\ntls-cert = 'absent'\n", 1, "the certificate absent (--tls-cert) cannot be read"),
    ):
        (tmp_path / "reserve.toml").write_text(text)
        done = run([installed.reserve, *argv], cwd=tmp_path, text=True)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith(f"reserve: {message.format(tmp_path / 'reserve.toml')}")
        assert done.stderr.count("\n") == 1


def test_port_says_where_to_listen(installed: Installed) -> None:
    with ServerProcess(installed.reserve, *LINE, environ={"PORT": "0"}) as server:
        banner = "\n".join(server.stderr)
        assert re.search(r"on http://0\.0\.0\.0:\d+/ +\(the environment variable PORT; --bind changes it\)", banner)
        with server.client() as client:
            assert fetch(client, "GET", "/")[0] in (200, 404)


def test_bind_is_stronger_than_port(installed: Installed, tmp_path: Path) -> None:
    config = tmp_path / "reserve.toml"
    config.write_text("[server]\nbind = '127.0.0.1:0'\n")
    environ = {"PORT": "no port"}
    with ServerProcess(installed.reserve, "--config", str(config), *LINE, environ=environ) as server:
        assert any("on http://127.0.0.1:" in line for line in server.stderr)
    done = run([installed.reserve, *LINE], cwd=SITES, env=clean_environ(**environ), text=True)
    assert done.returncode == 2
    assert "the environment variable PORT is 'no port'; allowed is a whole number from 0 to 65535" in done.stderr


def test_config_schema_is_json(installed: Installed, tmp_path: Path) -> None:
    done = run([installed.reserve, "config-schema"], cwd=tmp_path, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "head-timeout" in json.loads(done.stdout)["$defs"]["options"]["properties"]


def test_the_file_of_another_server_starts_this_one(installed: Installed, tmp_path: Path) -> None:
    source = tmp_path / "gunicorn.conf.py"
    source.write_text(
        "import multiprocessing, os\nos.mkdir('ran')\nbind = ['127.0.0.1:0']\nworkers = multiprocessing.cpu_count()\n"
        "threads = 3\nkeepalive = 7\nraw_env = ['TOKEN=hunter2']\nwsgi_app = 'everything'\n"
    )
    done = run([installed.reserve, "migrate", "gunicorn.conf.py"], cwd=tmp_path, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "ran").exists()
    assert (
        "# - workers, line 4: it depends on the processors of the machine: multiprocessing.cpu_count(); " in done.stdout
    )
    assert "hunter2" not in done.stdout
    (tmp_path / "reserve.toml").write_text(done.stdout)
    (line,) = re.findall(r"^#   reserve (app .*)$", done.stdout, re.MULTILINE)
    checked = check(installed, cwd=tmp_path)
    assert "threads = 3 " in checked.stdout
    assert 'keep-alive = "7s" ' in checked.stdout
    with ServerProcess(installed.reserve, "--config", str(tmp_path / "reserve.toml"), *line.split()) as server:
        assert any("with 3 threads" in one for one in server.stderr)
        with server.client() as client:
            assert fetch(client, "GET", "/")[0] in (200, 404)


@pytest.mark.parametrize(
    "words", [("uwsgi --http-socket 127.0.0.1:0 --threads 3",), ("gunicorn", "-b", "127.0.0.1:0", "--threads", "3")]
)
def test_the_command_line_of_another_server_starts_this_one(
    installed: Installed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = run([installed.reserve, "migrate", *words], cwd=tmp_path, text=True)
    assert done.returncode == 0
    (tmp_path / "reserve.toml").write_text(done.stdout)
    with ServerProcess(installed.reserve, "--config", str(tmp_path / "reserve.toml"), *LINE) as server:
        assert any("with 3 threads" in line for line in server.stderr)
