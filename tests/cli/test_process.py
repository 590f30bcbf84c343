"""What the command changes in its process before it opens a socket."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reserve.cli.command import main
from tests.cli.fakes import HANDLER, FakeServer
from tests.waiting import PATIENCE


def test_chdir_and_env_take_effect_before_the_import(workdir: Path) -> None:
    (workdir / "sub").mkdir()
    source = "import os\nseen = os.environ['CLI_COLOUR'], os.getcwd()\n" + HANDLER + "handle.seen = seen\n"
    (workdir / "sub" / "cli_sub.py").write_text(source)
    assert main(["--chdir", "sub", "--env=CLI_COLOUR=red", "app", "cli_sub", "-b127.0.0.1:0"]) == 0
    assert FakeServer.made[0].handle.seen == ("red", str(workdir / "sub"))


def test_the_command_raises_its_limit_of_open_files() -> None:
    pytest.importorskip("resource")
    code = (
        "import resource\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "from reserve.cli import process\n"
        "process.raise_open_files()\n"
        "soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "assert soft == min(hard, process.MAX_OPEN_FILES) or hard == resource.RLIM_INFINITY, (soft, hard)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
