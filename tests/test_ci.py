"""``.ci/run`` with programs that do nothing: which tests it runs on which Python, its last line and its exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent
PEERS = (
    "curl", "chromium", "chromedriver", "wrk", "systemd-socket-activate", "systemd-analyze", "setpriv", "slowhttptest",
    "strace", "tmux", "nginx", "apache2", "lighttpd", "haproxy", "openssl", "certutil", "prometheus", "promtool",
    "valgrind", "cc", "python3-dbg",
)  # fmt: skip
PYTHON = """#!/bin/sh
case "$*" in "-m pytest"*)
    echo "{name}: ${{RESERVE_PURE:+RESERVE_PURE=$RESERVE_PURE }}$*" >>"{calls}"
    echo "details of {name}"
    echo "{name} is done"
    exit {code};;
esac
"""
PURE = ".venv: RESERVE_PURE=1 -m pytest tests/strictness tests/gateways tests/apps/http --ignore-glob=*/test_straight*"
"""The tests of HTTP with the straight line in Python."""
PIP = """#!/bin/sh
echo "{output}"
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file with the calls of pytest."""
    return tmp_path / "calls"


@pytest.fixture
def ci(tmp_path: Path, calls: Path) -> Run:
    """``ci(main=0, system=0, pip="")``: run it, where pytest ends with these exit codes and pip prints this."""

    def run(main: int = 0, system: int = 0, pip: str = "", python: str = "") -> subprocess.CompletedProcess[str]:
        clone, programs = tmp_path / "clone", tmp_path / "programs"
        write(clone / ".ci" / "run", (ROOT / ".ci" / "run").read_text("utf-8"))
        for name in ("tests/ssl/test_a.py", "tests/test_tls.py", "tests/x/test_my_tls_b.py", "tests/x/test_other.py"):
            write(clone / name, "")
        for name in PEERS:
            write(programs / name, "#!/bin/sh\n")
        write(programs / "python3", PYTHON.format(name="nothing", calls=calls, code=9))
        for environment, code in ((".venv", main), (".venv-system", system)):
            scripts = clone / environment / "bin"
            write(scripts / "python", PYTHON.format(name=environment, calls=calls, code=code))
            write(scripts / "pip", PIP.format(output=pip if environment == ".venv-system" else ""))
            for name in ("ruff", "mypy"):
                write(scripts / name, "#!/bin/sh\n")
        return subprocess.run(
            [shutil.which("bash") or "bash", str(clone / ".ci" / "run")],
            env={
                "PATH": f"{programs}:{os.environ['PATH']}",
                "SYSTEM_PYTHON": python or str(programs / "python3"),
                "TMPDIR": str(tmp_path),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )

    return run


def test_the_whole_suite_and_the_tests_of_tls_on_the_systems_python_run(ci: Run, calls: Path) -> None:
    done = ci()
    assert (done.returncode, done.stdout) == (0, ".venv is done\n")
    assert calls.read_text().splitlines() == [
        ".venv-system: -m pytest tests/ssl tests/engine/drivers tests/test_tls.py tests/x/test_my_tls_b.py",
        PURE,
        ".venv: -m pytest",
    ]


@pytest.mark.parametrize(("main", "system"), [(0, 1), (1, 0), (1, 2), (2, 1)])
def test_a_failure_of_either_is_a_failure_and_the_whole_suite_has_the_last_line(
    ci: Run, main: int, system: int
) -> None:
    done = ci(main, system)
    assert done.returncode == (main or system)
    assert done.stdout.splitlines()[-1] == ".venv is done"
    assert ("details of .venv-system" in done.stdout) is bool(system)
    assert ("details of .venv\n" in done.stdout) is bool(main)


def test_a_deprecation_warning_of_pip_about_reserve_is_a_failure(ci: Run) -> None:
    done = ci(pip="  DEPRECATION: reserve is being installed using the legacy method")
    assert done.returncode == 1
    assert "legacy method" in done.stdout
    assert done.stdout.splitlines()[-1] == ".venv is done"
    assert ci(pip="  DEPRECATION: another is being installed using the legacy method").returncode == 0


def test_the_same_python_does_not_run_tests_twice(ci: Run, calls: Path, tmp_path: Path) -> None:
    assert ci(python=str(tmp_path / "clone" / ".venv" / "bin" / "python")).returncode == 0
    assert calls.read_text() == f"{PURE}\n.venv: -m pytest\n"


def test_without_a_python_of_the_system_the_whole_suite_runs(ci: Run, calls: Path, tmp_path: Path) -> None:
    assert ci(python=str(tmp_path / "none")).returncode == 0
    assert calls.read_text() == f"{PURE}\n.venv: -m pytest\n"
