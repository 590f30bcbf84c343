"""What the command changes in its process before it opens a socket."""

from __future__ import annotations

import os
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


DELETED = "os.mkdir('deleted')\nos.chdir('deleted')\nos.rmdir('../deleted')"
APP = """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/delete":
        import os, shutil
        shutil.rmtree(os.getcwd())
    if environ["PATH_INFO"] == "/import":
        import json.tool
        try:
            import nowhere
        except ImportError:
            pass
    if environ["PATH_INFO"] == "/fail":
        exec("1 / 0")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 1, "reserve: the working directory was deleted; start in another one, or name it with --chdir DIR\n"),
        (("--chdir", "sub"), 1, "reserve: --chdir: cannot change to sub: No such file or directory\n"),
        (
            ("--config", "a.toml"),
            1,
            "reserve: cannot read the options in a.toml (named by --config): No such file or directory\n",
        ),
        (("-h",), 0, ""),
    ],
)
def test_in_a_deleted_working_directory_the_command_says_so(
    tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    with command(tmp_path, *options, wrapper=DELETED) as (process, _):
        assert process.communicate(timeout=PATIENCE)[1] == message
        assert process.returncode == code


def test_with_chdir_a_deleted_working_directory_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "site_app.py").write_text(APP)
    with command(tmp_path, "--chdir", str(tmp_path / "sub"), wrapper=DELETED) as (process, port):
        assert get(port).endswith(b"ok")
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_server_goes_on_when_its_working_directory_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "site_app.py").write_text(APP)
    with command(tmp_path, "--chdir", str(tmp_path / "sub")) as (process, port):
        for path in ("/delete", "/import"):
            assert get(port, path).endswith(b"ok")
        assert get(port, "/fail").startswith(b"HTTP/1.1 500 ")
        assert get(port).endswith(b"ok")
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert "ZeroDivisionError" in err


def test_a_working_directory_that_cannot_be_read_is_named(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    access = os.access  # the tests may run as root, who may read everything
    monkeypatch.setattr(os, "access", lambda path, mode: path != str(workdir) and access(path, mode))
    assert main(["app", "cli_nowhere", "-b127.0.0.1:0"]) == 1
    assert f"looked in {workdir} (which this process may not read) and the rest" in capsys.readouterr().err


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
