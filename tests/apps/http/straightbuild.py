"""Builds the straight line in C with other options, or for another interpreter, into a folder of its own."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent.parent
SOURCE = ROOT / "reserve/apps/http/_straightline.c"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
"""A free-threaded build has an allocator of its own for objects, and no other: AddressSanitizer does not see them."""
UNDER_SANITIZERS = {"ASAN_OPTIONS": "detect_leaks=0"} | ({} if WITHOUT_GIL else {"PYTHONMALLOC": "malloc"})
"""In the environment: each object has an allocation of its own, and what an interpreter keeps at its end is no leak."""
_ASK = (
    "import json, sys, sysconfig as s; "
    "print(json.dumps([s.get_path('include'), s.get_path('platinclude'), s.get_config_var('EXT_SUFFIX'), "
    "hasattr(sys, 'gettotalrefcount')]))"
)


def build(
    folder: Path, *flags: str, source: Path = SOURCE, name: str = "_straightline", python: str = sys.executable
) -> Path:
    """Compile ``source`` as the module ``name`` for ``python``. Raises CalledProcessError if it cannot."""
    include, platform_include, suffix, _ = ask(python)
    target = folder / f"{name}{suffix}"
    command = ["cc", "-shared", "-fPIC", "-g", "-O1", *flags, f"-I{include}", f"-I{platform_include}"]
    subprocess.run([*command, str(source), "-o", str(target)], check=True, capture_output=True, text=True)
    return target


@functools.cache
def ask(python: str) -> tuple[str, str, str, bool]:
    """Where its headers are, how the names of its extensions end, and whether it is a debug build."""
    found = json.loads(subprocess.run([python, "-c", _ASK], check=True, capture_output=True, text=True).stdout)
    return found[0], found[1], found[2], found[3]


def debug_python() -> str | None:
    """A debug build of CPython that can run the package, and has its headers."""
    for name in ("python3-dbg", "python3-debug", "python3d"):
        path = shutil.which(name)
        if path is not None and ask(path)[3] and Path(ask(path)[1], "pyconfig.h").exists():
            return path
    return None


@functools.cache
def sanitizers() -> str | None:
    """What LD_PRELOAD has to name for an extension that was built with :data:`SANITIZERS`; None: there are none."""
    if shutil.which("cc") is None:
        return None
    paths = []
    for library in ("libasan.so", "libubsan.so"):
        command = ["cc", f"-print-file-name={library}"]
        path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        if not Path(path).is_absolute():
            return None
        paths.append(path)
    return " ".join(paths)
