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
"-c import sys; print("*) echo 3.11;;
esac
"""
PURE = ".venv: RESERVE_PURE=1 -m pytest tests/strictness tests/gateways tests/apps/http --ignore-glob=*/test_straight*"
"""The tests of HTTP with the straight line in Python."""
OTHERS = ("3.12", "3.13", "3.14", "3.15", "3.14t", "3.15t")
"""The CPythons on which a part of the suite runs, where they are; the main one is 3.11."""
MISSING = "Not tested on CPython {0}: there is no python{0}, neither on the PATH nor of pyenv.\n"
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
    """``ci(main=0, system=0, pip="")``: run it, where pytest ends with these exit codes and pip prints this.

    ``others``: the other CPythons that are there, each with the exit code of pytest.
    """

    def run(
        main: int = 0, system: int = 0, pip: str = "", python: str = "", others: dict[str, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        clone, programs = tmp_path / "clone", tmp_path / "programs"
        write(clone / ".ci" / "run", (ROOT / ".ci" / "run").read_text("utf-8"))
        for name in ("tests/ssl/test_a.py", "tests/test_tls.py", "tests/x/test_my_tls_b.py", "tests/x/test_other.py"):
            write(clone / name, "")
        for name in PEERS:
            write(programs / name, "#!/bin/sh\n")
        write(programs / "python3", PYTHON.format(name="nothing", calls=calls, code=9))
        environments = {".venv": main, ".venv-system": system}
        for version in OTHERS:
            # A program that fails is what pyenv has on the PATH for a release that is not chosen.
            write(programs / f"python{version}", f"#!/bin/sh\nexit {int(version not in (others or {}))}\n")
        environments |= {f".venv-{version}": code for version, code in (others or {}).items()}
        for environment, code in environments.items():
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
                "PYENV_ROOT": str(tmp_path / "pyenv"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )

    return run


def test_the_whole_suite_and_the_tests_of_tls_on_the_systems_python_run(ci: Run, calls: Path) -> None:
    done = ci()
    assert (done.returncode, done.stdout) == (0, "".join(map(MISSING.format, OTHERS)) + ".venv is done\n")
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


def test_a_part_of_the_suite_runs_on_each_other_python_that_is_there(ci: Run, calls: Path, tmp_path: Path) -> None:
    of_pyenv = tmp_path / "pyenv" / "versions" / "3.13.0" / "bin" / "python3.13"
    write(of_pyenv, f"#!/bin/sh\necho $0 $1 $2 >>{tmp_path}/of_pyenv\n")
    write(tmp_path / "clone" / ".venv-3.13" / "bin" / "python", PYTHON.format(name=".venv-3.13", calls=calls, code=0))
    write(tmp_path / "clone" / ".venv-3.13" / "bin" / "pip", PIP.format(output=""))
    done = ci(others={"3.12": 0, "3.15t": 0})
    missing = [version for version in OTHERS if version not in ("3.12", "3.13", "3.15t")]
    assert (done.returncode, done.stdout) == (0, "".join(map(MISSING.format, missing)) + ".venv is done\n")
    assert (tmp_path / "of_pyenv").read_text() == f"{of_pyenv} -c import ensurepip, venv\n"
    ran = [line.partition(": ")[::2] for line in calls.read_text().splitlines()]
    parts = {arguments for name, arguments in ran if name in (".venv-3.12", ".venv-3.13", ".venv-3.15t")}
    assert [name for name, _ in ran] == [".venv-system", ".venv", ".venv-3.12", ".venv-3.13", ".venv-3.15t", ".venv"]
    assert len(parts) == 1
    (part,) = parts
    assert part.startswith("-m pytest tests/")
    assert all((ROOT / name).exists() for name in part.split()[2:] if name.startswith("tests/"))


@pytest.mark.parametrize("main", [0, 1])
def test_a_failure_on_another_python_is_a_failure(ci: Run, main: int) -> None:
    done = ci(main, others={"3.12": 3, "3.15t": 0})
    assert done.returncode == (main or 3)
    assert "The tests on CPython 3.12 failed with exit code 3:\ndetails of .venv-3.12\n" in done.stdout
    assert "details of .venv-3.15t" not in done.stdout
    assert done.stdout.splitlines()[-1] == ".venv is done"
