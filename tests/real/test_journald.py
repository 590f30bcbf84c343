"""The logs of the installed command in Debian's systemd-journald: what arrives, how, and when it is killed.

journald runs in a mount namespace whose ``/run`` is empty, so that the one of the machine, and its journal, notice
nothing. The server is started there as systemd starts a service: both streams are connected to journald, and
``JOURNAL_STREAM`` names the one of standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients import free_port
from tests.real.installing import Installed
from tests.real.processes import run, running
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.peer
PROGRAM = shutil.which("systemd-journald", path="/usr/lib/systemd:/lib/systemd") or ""
NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
mount --bind "$1" /run/log/journal
cat >/run/systemd/journald.conf.d/test.conf <<'END'
[Journal]
Storage=volatile
ReadKMsg=no
Audit=
ForwardToWall=no
RateLimitIntervalSec=0
RuntimeKeepFree=1M
END
exec "$2"
"""
SERVICE = """
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"
"""
SITE = """\
import logging

def application(environ, start_response):
    if environ["PATH_INFO"] == "/warning":
        logging.getLogger("reserve").warning("the disk is almost full")
    if environ["PATH_INFO"] == "/error":
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("first line\\n<0>second line") from error
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
TRACEBACK = r"""\S+ \S+ ERROR: .*
(?:.*\n)*?KeyError: 'missing'
The above exception was the direct cause of the following exception:
Traceback \(most recent call last\):
(?:.*\n)*?ValueError: first line
<0>second line
"""
"""What journalctl shows of it. journald drops empty lines."""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Journald:
    """A journald that runs, and the journal that it writes."""

    def __init__(self, process: subprocess.Popen[bytes], journal: Path, programs: dict[str, str]) -> None:
        self.process = process
        self._journal = journal
        self._programs = programs

    def show(self, *options: str) -> str:
        """What journalctl prints of the service."""
        command = [self._programs["journalctl"], "--directory", str(self._journal), "--no-pager", "--quiet", *options]
        done = run([*command, "--identifier", "site"], text=True)
        assert done.returncode in (0, 1), done.stderr  # 1: no entry yet
        return str(done.stdout)

    def entries(self) -> list[dict[str, Any]]:
        """All entries of the service."""
        return [json.loads(line) for line in self.show("--output", "json", "--all").splitlines()]

    def inside(self, folder: Path, *command: str) -> list[str]:
        """The command line that runs a command as a service of this journald."""
        enter = [self._programs["nsenter"], f"--mount=/proc/{self.process.pid}/ns/mnt", f"--wd={folder}"]
        return [*enter, self._programs["systemd-cat"], "--identifier=site", "sh", "-c", SERVICE, "sh", *command]


@pytest.fixture
def journald(tmp_path: Path, require_peer: Callable[[str], str]) -> Iterator[Journald]:
    names = ("journalctl", "systemd-cat", "nsenter", "unshare")
    programs = {name: require_peer(name) for name in names}
    if not PROGRAM:
        pytest.skip("systemd-journald is not installed")
    unshare = [programs["unshare"], "--mount", "--propagation", "private"]
    allowed = run([*unshare, "mount", "-t", "tmpfs", "tmpfs", "/run"], text=True)
    if allowed.returncode != 0:
        pytest.skip(f"a mount namespace for journald needs the rights of root: {allowed.stderr.strip()}")
    journal = tmp_path / "journal"
    journal.mkdir()
    command = [*unshare, "sh", "-c", NAMESPACE, "sh", str(journal), PROGRAM]
    with (tmp_path / "journald.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        socket = Path(f"/proc/{process.pid}/root/run/systemd/journal/stdout")
        eventually(lambda: process.poll() is not None or (is_journald(process.pid) and socket.exists()))
        assert process.poll() is None, (tmp_path / "journald.log").read_text()
        yield Journald(process, journal, programs)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(journal)  # 8 MB for each test


def is_journald(pid: int) -> bool:
    """Whether the script has become it, so that ``/run`` is its own."""
    return os.readlink(f"/proc/{pid}/exe").endswith("systemd-journald")


@contextlib.contextmanager
def served(
    installed: Installed, journald: Journald, folder: Path, processes: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve the site as a service while the block runs; give the process and the URL."""
    (folder / "journaled.py").write_text(SITE)
    address = f"127.0.0.1:{free_port()}"
    command = [installed.reserve, "--bind", address, "--processes", processes, "--threads", "2"]
    command += ["--access-log-format", "json", "app", "http", "wsgi", "journaled"]

    def serves() -> bool:
        with contextlib.suppress(OSError):
            return get(f"http://{address}/ready?") == 200
        return False

    with running(
        journald.inside(folder, *command),
        serves,
        stop_signal=signal.SIGTERM,
        errors=folder / "errors",
        output=subprocess.DEVNULL,
        cwd=folder,
    ) as process:
        yield process, f"http://{address}"
    assert process.returncode == 0, (folder / "errors").read_text()


def get(url: str) -> int:
    """Send a request; return the status of the response."""
    try:
        with _OPENER.open(url, timeout=PATIENCE) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("processes", ["1", "2"])
def test_both_logs_arrive_with_their_levels(
    processes: str, installed: Installed, journald: Journald, tmp_path: Path
) -> None:
    with served(installed, journald, tmp_path, processes) as (_, url):
        for path, status in (("/warning", 200), ("/error", 500), ("/a%22b?c=<0>", 200)):
            assert get(url + path) == status

    entries = journald.entries()
    messages = [entry["MESSAGE"] for entry in entries]
    requests = [json.loads(text) for text in messages if text.startswith("{")]
    assert sorted((one["target"], one["status"]) for one in requests if "ready" not in one["target"]) == [
        ("/a%22b?c=<0>", 200),
        ("/error", 500),
        ("/warning", 200),
    ]
    assert {entry["PRIORITY"] for entry in entries if entry["MESSAGE"].startswith("{")} == {"6"}
    assert not [text for text in messages if re.match(r"<[0-7]>\d", text)]
    levels = {"INFO": "6", "WARNING": "4", "ERROR": "3"}
    for entry in entries:
        if found := re.match(r"[-\d]+ [:,\d]+ ([A-Z]+): ", entry["MESSAGE"]):
            assert entry["PRIORITY"] == levels[found[1]], entry
    warnings = [text for text in messages if text.endswith("WARNING: the disk is almost full")]
    assert len(warnings) == 1

    # A traceback stays in one piece, whose lines have all the level of the error.
    shown = journald.show("--priority", "err", "--output", "cat")
    assert re.fullmatch(TRACEBACK, shown), shown
    shown = journald.show("--priority", "warning", "--output", "cat")
    assert warnings[0] in shown
    assert '"target":' not in shown
    assert "serves" not in shown


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_killed_journald_neither_blocks_nor_ends_the_server(
    processes: str, installed: Installed, journald: Journald, tmp_path: Path
) -> None:
    with served(installed, journald, tmp_path, processes) as (process, url):
        assert get(url) == 200
        eventually(lambda: '"target":"/"' in journald.show("--output", "cat"))
        journald.process.kill()
        journald.process.wait()
        for _ in range(20):
            assert [get(url + path) for path in ("/", "/warning", "/error")] == [200, 200, 500]
        assert process.poll() is None
