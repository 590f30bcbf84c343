"""The line that says that a module has switched the GIL on."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest

from reserve.cli import application
from reserve.cli.application import GILWatch
from reserve.engine import collect
from reserve.engine.polling.processors import free_threaded, has_gil

ENABLED = (
    "The global interpreter lock (GIL) has been enabled to load module 'old', which has not declared that it can run "
    "safely without the GIL."
)
EXTENSION = """
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "oldmodule", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_oldmodule(void) { return PyModule_Create(&definition); }
"""


@pytest.mark.parametrize(("warning", "module"), [(ENABLED, "old"), ("", "a module that the application has imported")])
def test_the_module_is_named_and_the_line_works_when_it_is_pasted(
    warning: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = [False, True]
    monkeypatch.setattr(application, "has_gil", lambda: has[0])
    watch = GILWatch()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with watch:
            if warning:
                warnings.warn(warning, RuntimeWarning, stacklevel=1)
            has.pop(0)
    line = watch.line("reserve app site")
    assert line.startswith(f"the GIL is on: {module} does not declare")
    assert line.endswith(": PYTHON_GIL=0 reserve app site")
    assert "\n" not in line


def test_every_other_warning_is_shown_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *where, **options: shown.append(str(message)))
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = before
        with GILWatch() as watch:
            warnings.warn("of the application", RuntimeWarning, stacklevel=1)
            warnings.warn(ENABLED, UserWarning, stacklevel=1)
            warnings.warn(ENABLED, RuntimeWarning, stacklevel=1)
        assert warnings.showwarning is before
    assert shown == ["of the application", ENABLED]
    assert watch.line("reserve") == "", "the GIL is as it was"


@pytest.mark.parametrize(
    ("has", "free", "text"),
    [
        (True, False, ""),
        (False, True, ", no GIL"),
        (True, True, ", free-threaded, but a module has switched the GIL on"),
    ],
)
def test_the_stats_say_it(has: bool, free: bool, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "has_gil", lambda: has)
    monkeypatch.setattr(collect, "free_threaded", lambda: free)
    assert collect._build() == text


def test_the_build_is_known() -> None:
    assert free_threaded() is bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert has_gil() or free_threaded()


@pytest.mark.skipif(has_gil(), reason="this Python is not free-threaded, or has the GIL on")
def test_a_real_extension_module_that_declares_nothing(tmp_path: Path) -> None:
    source = tmp_path / "oldmodule.c"
    source.write_text(EXTENSION)
    target = tmp_path / f"oldmodule{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_path("include")
    built = subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(target)], check=False)
    if built.returncode:
        pytest.skip("there is no C compiler")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from reserve.cli.application import GILWatch\n"
        "with GILWatch() as watch: import oldmodule\n"
        "print(watch.line('reserve app site'))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the GIL is on: oldmodule does not declare"), done
    assert done.stderr == "", "the warning is not written, too"
