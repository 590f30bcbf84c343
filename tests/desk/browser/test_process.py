"""``reserve.desk.browser.process``: a start without standard descriptors, and in processes of ``multiprocessing``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[3]


def run(program: Path, *, command: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, sys.executable, str(program)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_closed_standard_descriptors_are_not_given_to_sockets(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, socket, sys\n"
        "from reserve.desk.browser.process import prepare_process\n"
        "def is_closed(number):\n"
        "    try:\n"
        "        os.fstat(number)\n"
        "    except OSError:\n"
        "        return True\n"
        "closed = [number for number in range(3) if is_closed(number)]\n"
        "prepare_process()\n"
        "with socket.socket() as sock:\n"
        "    number = sock.fileno()\n"
        "print('nothing happens')\n"
        "null = os.stat(os.devnull).st_rdev\n"
        "replaced = all(os.stat(number).st_rdev == null for number in closed)\n"
        f"with open({str(tmp_path / 'result')!r}, 'w') as file:\n"
        "    file.write(f'{number > 2} {replaced} {closed[-2:]} {sys.stdout}')\n",
        "utf-8",
    )
    assert run(program, command=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")).returncode == 0
    assert (tmp_path / "result").read_text("utf-8") == "True True [1, 2] None"


@pytest.mark.parametrize("guarded", [True, False])
def test_a_process_of_multiprocessing_does_not_start_the_program_again(tmp_path: Path, guarded: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "from reserve.desk.browser.process import prepare_process\n"
        "def work():\n"
        "    print('work', flush=True)\n"
        f"if {'__name__ == ' if guarded else ''}'__main__':\n"
        "    prepare_process()\n"
        "    print('started', flush=True)\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n",
        "utf-8",
    )
    result = run(program)
    assert result.stdout.split() == (["started", "work"] if guarded else ["started"])
    assert ("UsageError" in result.stderr) is not guarded
