"""Which reserve a benchmark runs: the clone, or an installed copy, and whether that has extension modules."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from benchmarks.process import ROOT, Unmeasurable, environment

__all__ = ["CLONE", "FORMS", "HOSTED", "Runtime", "installed"]

HOSTED = Path(__file__).with_name("compare") / "hosted"
"""The folder with the applications that servers import by themselves, without the clone on their path."""
FORMS: dict[str, dict[str, str]] = {"pure": {"RESERVE_PURE": "1"}, "c": {}}
"""By form of reserve: the environment variables that choose it. ``c`` is the one with its extension module."""
_LIST_EXTENSIONS = """\
import sys, reserve.apps.http.launch
try:
    import reserve.apps.http._straightline
except ImportError:
    pass
for name, module in sorted(sys.modules.items()):
    path = getattr(module, "__file__", None) or ""
    if name.startswith("reserve.") and path.endswith(tuple(sys.argv[1:])):
        print(name)
"""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A Python, and what it imports."""

    python: str
    cwd: Path
    """The working directory, from which ``python -m`` imports first."""
    path: str
    """PYTHONPATH."""

    def extensions(self) -> list[str]:
        """The compiled modules that reserve loads for HTTP; none: there is only the pure form.

        :raises Unmeasurable: reserve cannot be imported.
        """
        command = [self.python, "-c", _LIST_EXTENSIONS, *EXTENSION_SUFFIXES]
        variables = environment() | {"PYTHONPATH": self.path}
        done = subprocess.run(command, cwd=self.cwd, env=variables, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Unmeasurable(f"reserve cannot be imported: {done.stderr.strip()[-400:]}")
        return done.stdout.split()


CLONE = Runtime(python=sys.executable, cwd=ROOT, path=os.pathsep.join([str(ROOT), str(HOSTED)]))
"""The sources of the clone, with this Python."""


def installed(python: str = sys.executable) -> Runtime:
    """The reserve that is installed for a Python."""
    return Runtime(python=python, cwd=HOSTED, path=str(HOSTED))
