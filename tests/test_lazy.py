"""``import reserve`` imports the rest of the package only on first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import reserve
from tests.waiting import PATIENCE

ROOT = str(Path(reserve.__file__).parent.parent)


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_without_tls_does_not_import_openssl() -> None:
    program = (
        "import sys, reserve\n"
        "app = lambda environ, start_response: []\n"
        "with reserve.ReserveWSGIServer(reserve.listen('127.0.0.1:0'), app, threads=1) as server:\n"
        "    print(server.ssl_adapter, server.stats().tls_handshakes)\n"
        "print('ssl' in sys.modules, '_ssl' in sys.modules)\n"
    )
    assert run(program) == "None 0\nFalse False\n"


def test_the_adapters_are_imported_on_first_use() -> None:
    program = (
        "import reserve, sys\n"
        "print('reserve.ssl' in sys.modules, 'ssl' in dir(reserve), 'ssl' in reserve.__all__)\n"
        "print(reserve.ssl.BuiltinSSLAdapter.__name__, reserve.ssl is sys.modules['reserve.ssl'])\n"
    )
    assert run(program) == "False True False\nBuiltinSSLAdapter True\n"


def test_the_command_imports_nothing_for_numbers_and_responses_before_there_is_a_server() -> None:
    """``reserve status`` and ``reserve --version`` are run often, by scripts too."""
    modules = set(run("import sys, reserve.cli.command; print(*sys.modules)").split())
    assert "reserve.cli.command" in modules
    assert not modules & {
        "reserve.control.totals", "reserve.control.document", "reserve.control.collector",
        "reserve.protocol.http1.response", "datetime",
    }  # fmt: skip
