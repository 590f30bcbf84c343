"""Each trouble of the page about watching: its commands run, and the number that the page promises is there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import reserve
from tests.authority import Authority
from tests.clients import free_port
from tests.real.installing import Installed
from tests.real.processes import clean_environ, run, running
from tests.waiting import eventually

pytestmark = pytest.mark.peer
TEXT = (Path(reserve.__file__).parent / "docs" / "watching.md").read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^###? ", TEXT, flags=re.MULTILINE)[1:]}
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"`(reserve_[^`]+)`\s+is\s+(above|at\s+least)\s+(\d+)")
TROUBLES = [title for title, part in SECTIONS.items() if re.search(r"^Then `", part, re.MULTILINE)]
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Site:
    """Runs the commands of one section, at other addresses."""

    def __init__(self, installed: Installed, folder: Path) -> None:
        self._folder = folder
        self._ports = {"127.0.0.1:8080": f"127.0.0.1:{free_port()}", "127.0.0.1:9100": f"127.0.0.1:{free_port()}"}
        self._more = {"/tmp/reserve.sock": str(folder / "reserve.sock")}
        self._programs = str(Path(installed.reserve).parent)

    def placed(self, text: str) -> str:
        """A text of the page with the addresses of this test."""
        for old, new in (self._ports | self._more).items():
            text = text.replace(old, new)
        return re.sub(r'"127\.0\.0\.1", 8080', '"127.0.0.1", ' + self._ports["127.0.0.1:8080"].partition(":")[2], text)

    @property
    def environ(self) -> dict[str, str]:
        return clean_environ(PATH=f"{self._programs}:{os.environ['PATH']}", RESERVE_BIND=self._ports["127.0.0.1:8080"])

    @contextlib.contextmanager
    def serving(self, line: str) -> Iterator[None]:
        """Run the line that starts the server."""
        place = " ".join(f"{name}={value}" for name, value in self.environ.items() if name.startswith("RESERVE_"))
        command = ["bash", "-c", f"PATH={self.environ['PATH']}; export {place}; {self.placed(line)}"]
        with running(
            command,
            lambda: self.metrics() != "",
            stop_signal=signal.SIGKILL,
            errors=self._folder / "errors",
            output=subprocess.DEVNULL,
            cwd=self._folder,
        ):
            yield

    def metrics(self) -> str:
        """What the server exposes; empty: it does not respond."""
        try:
            with _OPENER.open(f"http://{self._ports['127.0.0.1:9100']}/metrics", timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    def value(self, name: str) -> float:
        """The value of a metric; 0: there is none."""
        found = re.search(rf"^{re.escape(self.placed(name))} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    @contextlib.contextmanager
    def commanding(self, script: str) -> Iterator[None]:
        """Run the other lines, in the background."""
        process = subprocess.Popen(
            ["bash", "-c", self.placed(script)],
            cwd=self._folder,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def site(installed: Installed, tmp_path: Path, require_peer: Callable[[str], str]) -> Site:
    for program in ("bash", "curl"):
        require_peer(program)
    return Site(installed, tmp_path)


def test_there_are_troubles() -> None:
    assert len(TROUBLES) == 15
    assert all(PROMISE.search(SECTIONS[title]) for title in TROUBLES)


@pytest.mark.parametrize("title", TROUBLES)
def test_the_commands_make_the_trouble_and_the_number_tells_of_it(
    title: str, site: Site, authority: Authority, tmp_path: Path
) -> None:
    if "cert.pem" in SECTIONS[title]:
        files = authority.issue("a", "a.test")
        shutil.copy(files.cert, tmp_path / "cert.pem")
        shutil.copy(files.key, tmp_path / "key.pem")
    (block,) = BLOCK.findall(SECTIONS[title])
    server, _, script = block.partition("\n")
    with site.serving(server), site.commanding(script):
        for name, relation, text in PROMISE.findall(SECTIONS[title]):
            least = float(text)
            eventually(lambda: (value := site.value(name)) > least or (value == least and relation != "above"))  # noqa: B023


def test_the_commands_that_look_at_the_server_run(site: Site) -> None:
    server, commands, folder = BLOCK.findall(SECTIONS["Set it up"])
    with site.serving(server):
        for line in (*commands.splitlines(), folder):
            done = run(["bash", "-c", site.placed(line)], env=site.environ, text=True)
            assert done.returncode == 0, done.stderr
            assert "reserve" in done.stdout
