"""What the command changes in its process before it opens a socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import HANDLER, FakeServer
from tests.cli.test_program import command, get
from tests.waiting import PATIENCE


def test_chdir_and_env_take_effect_before_the_import(workdir: Path) -> None:
    (workdir / "sub").mkdir()
    source = "import os\nseen = os.environ['CLI_COLOUR'], os.getcwd()\n" + HANDLER + "handle.seen = seen\n"
    (workdir / "sub" / "cli_sub.py").write_text(source)
    assert main(["--chdir", "sub", "--env=CLI_COLOUR=red", "app", "cli_sub", "-b127.0.0.1:0"]) == 0
    assert FakeServer.made[0].handle.seen == ("red", str(workdir / "sub"))


VIEWS = """
import os, resource, subprocess
def forked(then):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        then()
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text
def shell():
    os.execv("/bin/sh", ["sh", "-c", "ulimit -Sn"])
def python():
    os.write(1, str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]).encode())
def system():
    os.system("ulimit -Sn > limit")
    return open("limit").read()
def spawned():
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "ulimit -Sn > limit"], os.environ)
    os.waitpid(pid, 0)
    return open("limit").read()
VIEWS = {
    "/self": lambda: str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    "/fork": lambda: forked(python),
    "/fork-exec": lambda: forked(shell),
    "/subprocess": lambda: subprocess.check_output("ulimit -Sn", shell=True, text=True),
    "/system": system,
    "/spawn": spawned,
}
def application(environ, start_response):
    text = VIEWS[environ["PATH_INFO"]]().strip()
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text.encode()]
"""
FORKED = ("/fork", "/fork-exec")
OTHERS = ("/subprocess", "/system", "/spawn")


@pytest.mark.parametrize(
    ("options", "soft", "server", "forked", "others"),
    [
        (("--max-connections", "50"), 128, 4196, 128, 4196),  # raised as far as needed, not to the hard limit
        (("--max-connections", "50"), 4200, 4200, 4200, 4200),  # there was enough
        (("--max-connections", "10000"), 128, 4300, 128, 4300),  # the hard limit allows no more
        (("--open-files", "keep"), 128, 128, 128, 128),
        (("--open-files", "256"), 128, 256, 128, 256),
        (("--open-files", "256"), 300, 256, 256, 256),
    ],
)
def test_the_limit_of_open_files_in_the_server_and_in_processes_of_the_application(
    tmp_path: Path, options: tuple[str, ...], soft: int, server: int, forked: int, others: int
) -> None:
    pytest.importorskip("resource")
    (tmp_path / "site_app.py").write_text(VIEWS)
    wrapper = f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 4300))"
    with command(tmp_path, "--health-path", "/ready", *options, wrapper=wrapper, ready="/ready") as (process, port):
        found = {path: int(get(port, path).partition(b"\r\n\r\n")[2]) for path in ("/self", *FORKED, *OTHERS)}
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert found == {"/self": server} | dict.fromkeys(FORKED, forked) | dict.fromkeys(OTHERS, others)


def test_a_limit_of_open_files_above_the_hard_limit_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= 1048576:
        pytest.skip("the hard limit is above every number that the option takes")
    assert main(["app", "cli_plain", "-b127.0.0.1:0", "--open-files", str(hard + 1)]) == 1
    assert capsys.readouterr().err == (
        f"reserve: --open-files: {hard + 1} is more than the hard limit of open files, {hard} (ulimit -Hn)\n"
    )
