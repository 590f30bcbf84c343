"""The error when pyOpenSSL is not installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def test_the_error_without_pyopenssl_names_the_package_and_the_extra(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "reserve", tmp_path / "reserve")
    (tmp_path / "OpenSSL.py").write_text("raise ImportError('not here')")
    code = "import reserve.ssl as s\ntry: s.PyOpenSSLAdapter\nexcept Exception as e: print(type(e).__name__, e)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.stdout.startswith("StartupError PyOpenSSLAdapter needs pyOpenSSL"), done.stderr
    assert "pip install 'reserve[pyopenssl]'" in done.stdout
