"""The command takes as many descriptors as it may; without a GIL the lead is always handed over."""

from __future__ import annotations

import subprocess
import sys

import pytest

from reserve.engine.scheduler.handoff import AdaptiveHandOff, AlwaysHandOver, default_policy

resource = pytest.importorskip("resource")


def test_the_command_raises_its_limit_of_open_files() -> None:
    code = (
        "import resource\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "from reserve.cli import process\n"
        "process.raise_open_files()\n"
        "soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "assert soft == min(hard, process.MAX_OPEN_FILES) or hard == resource.RLIM_INFINITY, (soft, hard)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("enabled", "expected"), [(True, AdaptiveHandOff), (False, AlwaysHandOver)])
def test_the_policy_follows_the_interpreter(monkeypatch: pytest.MonkeyPatch, enabled: bool, expected: type) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert type(default_policy()) is expected
