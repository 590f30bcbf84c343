"""The guide to TLS is right: its commands and programs run, and its table has every variable that exists."""

from __future__ import annotations

import re
import shlex
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import reserve
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.cli.tls import make_adapter
from reserve.options.sources import collect
from reserve.ssl.adapter import SSLAdapter
from reserve.testing import running
from tests.waiting import PATIENCE

GUIDE = Path(reserve.__file__).parent / "docs" / "tls.md"
TEXT = GUIDE.read_text("utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)[1:]}
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOGGED = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def commands(title: str) -> list[list[str]]:
    """The arguments of each command of a section."""
    (block,) = SHELL.findall(SECTIONS[title])
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, require_peer: Callable[[str], str]) -> Path:
    """A folder in which every command that makes a file has run, in the order of the guide."""
    place = tmp_path_factory.mktemp("guide")
    openssl = require_peer("openssl")
    made = 0
    for title, part in SECTIONS.items():
        for arguments in commands(title) if SHELL.search(part) else ():
            if arguments[0] == "openssl":
                subprocess.run([openssl, *arguments[1:]], cwd=place, check=True, capture_output=True)
                made += 1
    assert made == 4
    for name in ("a", "b", "other"):
        certificate = trustme.CA().issue_cert(f"{name}.test", "localhost")
        (place / f"{name}.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(place / f"{name}.key"))
    return place


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def adapter_of(arguments: list[str]) -> SSLAdapter:
    """The adapter that a command line of reserve makes."""
    command = parse_command_line(arguments[1:])
    assert app_arguments(command) == ("http", ("wsgi", "blog"))
    adapter = make_adapter(collect(command.given, {}, "/nonexistent"))
    assert adapter is not None
    return adapter


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(name for name in environ if name == "HTTPS" or name.startswith("SSL_")).encode()]


def fetch(arguments: list[str], port: int) -> bytes:
    """The body that the guide's curl command gets, by a client with the same options."""
    assert arguments[0] == "curl"
    options = dict(zip(arguments[1:-1:2], arguments[2:-1:2], strict=True))
    assert set(options) <= {"--cacert", "--cert", "--key"}
    assert arguments[-1] == "https://localhost:8080/"
    context = ssl.create_default_context(cafile=options["--cacert"])
    if "--cert" in options:
        context.load_cert_chain(options["--cert"], options["--key"])
    with urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=PATIENCE) as response:
        return response.read()  # type: ignore[no-any-return]


def test_a_certificate_for_development(here: Path) -> None:
    _, serve, curl = commands("A certificate of your own, for development")
    with running(facts, ssl_adapter=adapter_of(serve), threads=1) as served:
        assert b"SSL_PROTOCOL" in fetch(curl, served.address[1])


def test_a_real_certificate(here: Path) -> None:
    (arguments,) = commands("A real certificate")
    live = here / "live"
    live.mkdir()
    (live / "fullchain.pem").write_bytes((here / "a.pem").read_bytes())
    (live / "privkey.pem").write_bytes((here / "a.key").read_bytes())
    arguments = [argument.replace("/etc/letsencrypt/live/example.org", str(live)) for argument in arguments]
    assert adapter_of(arguments).changed() is False
    (arguments,) = commands("Several certificates")
    adapter_of(arguments)


@pytest.fixture
def variables(here: Path) -> Iterator[set[str]]:
    """The variables that an application gets for a client with a certificate."""
    *_, serve, curl = commands("Clients with certificates")
    with running(facts, ssl_adapter=adapter_of(serve), threads=1) as served:
        yield set(fetch(curl, served.address[1]).decode().splitlines())
        with pytest.raises(OSError, match=r"(?i)alert|reset|closed|eof|broken pipe"):
            fetch([*curl[:3], curl[-1]], served.address[1])


def test_the_table_has_every_variable(variables: set[str]) -> None:
    cells = re.findall(r"^\| ((?:`\w+\*?` ?)+)\|", SECTIONS["What an application sees"], re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`(\w+\*?)`", cell)}
    prefixes = tuple(name[:-1] for name in documented if name.endswith("*"))
    assert {"SSL_CLIENT_S_DN_CN", "SSL_CLIENT_VERIFY", "SSL_SERVER_SAN_DNS_0"} <= variables
    assert [name for name in variables if name not in documented and not name.startswith(prefixes)] == []
    folder = Path(reserve.__file__).parent / "ssl"
    sources = "".join((folder / f"{name}.py").read_text("utf-8") for name in ("environ", "certificate", "certadapter"))
    for name in documented - {"SSL_SERVER_*"}:
        short = name.rstrip("*").removeprefix("SSL_CLIENT_")
        assert name in variables or short.rstrip("_") in sources, name


@pytest.mark.parametrize("title", [title for title, part in SECTIONS.items() if PYTHON.search(part)])
def test_the_examples_run(here: Path, title: str) -> None:
    names: dict[str, Any] = {"__name__": "tls_guide"}
    for match in PYTHON.finditer(SECTIONS[title]):
        line = TEXT[: TEXT.index(SECTIONS[title]) + match.start(1)].count("\n")
        exec(compile("\n" * line + match[1], str(GUIDE), "exec"), names)


def test_the_lines_of_the_log_exist() -> None:
    root = Path(reserve.__file__).parent
    sources = "".join(path.read_text("utf-8") for path in (root / "engine").rglob("*.py"))
    lines = LOGGED.findall(SECTIONS["Lines in the log"])
    assert len(lines) == 5
    for line in lines:
        for piece in re.split(r"…|5 s", line):
            assert piece.strip() in sources, piece
