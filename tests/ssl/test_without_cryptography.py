"""TLS where the package cryptography cannot be imported: one certificate serves, several are refused at the start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority, Files
from tests.waiting import PATIENCE

_BLOCKED = "import sys; sys.modules['cryptography'] = None\n"
_SERVE = """
import json, logging, socket, ssl, sys
import reserve

logging.basicConfig(stream=sys.stdout, format="%(message)s")
options = json.loads(sys.argv[1])
seen = {}

def app(environ, start_response):
    seen.update((name, value) for name, value in environ.items() if name.startswith("SSL_"))
    start_response("200 OK", [])
    return []

server = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0"), app, threads=1)
server.ssl_adapter = reserve.ssl.BuiltinSSLAdapter(options["server"], **options["tls"])
client = ssl.create_default_context(cafile=options["authority"])
if options["client"]:
    client.load_cert_chain(options["client"])
with server, socket.create_connection(server.addresses[0]) as plain:
    with client.wrap_socket(plain, server_hostname="localhost") as tls:
        tls.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        while tls.recv(65536):
            pass
assert "reserve.ssl.certificate" not in sys.modules
print(json.dumps(seen))
"""


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _BLOCKED + code, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _served(authority: Authority, certificate: Files, client: Files | None = None, **tls: Any) -> tuple[Any, list[str]]:
    """The variables that an application gets, and the lines of the log."""
    options = {
        "server": certificate.both,
        "authority": authority.pem,
        "client": client and client.both,
        "tls": tls,
    }
    done = _run(_SERVE, json.dumps(options))
    assert done.returncode == 0, done.stderr
    *log, variables = done.stdout.splitlines()
    return json.loads(variables), log


def _first_block(path: str) -> str:
    end = "-----END CERTIFICATE-----\n"
    return Path(path).read_text().partition(end)[0] + end


def test_a_server_with_one_certificate_serves(authority: Authority, certificate: Files) -> None:
    variables, log = _served(authority, certificate)
    assert variables["SSL_PROTOCOL"] == "TLSv1.3"
    assert variables["SSL_TLS_SNI"] == "localhost"
    assert {name: value for name, value in variables.items() if name.startswith("SSL_SERVER_")} == {
        "SSL_SERVER_CERT": _first_block(certificate.cert)
    }
    assert log == []


@pytest.mark.parametrize("kind", ["required", "optional"])
def test_client_certificates_are_checked_and_the_log_names_the_missing_variables(
    authority: Authority, certificate: Files, kind: str
) -> None:
    client = authority.issue("ann", "ann@example.org")
    variables, log = _served(authority, certificate, client, client_cert=kind, client_ca=authority.pem)
    own = {name: value for name, value in variables.items() if name.startswith("SSL_CLIENT_")}
    assert own.pop("SSL_CLIENT_VERIFY") == "SUCCESS"
    assert own.pop("SSL_CLIENT_CERT") == _first_block(client.cert)
    assert all(name.startswith("SSL_CLIENT_CERT_CHAIN_") for name in own)  # since Python 3.13
    (line,) = log
    assert line.startswith(
        f"clients are asked for certificates (--tls-client-cert {kind}), but the package cryptography"
    )
    assert line.endswith("to get the others: pip install 'reserve[tls]'")


def test_the_command_refuses_several_certificates(certificate: Files, other_certificate: Files) -> None:
    arguments = ["app", "echo", "--bind", "127.0.0.1:0"]
    for files in (certificate, other_certificate):
        arguments += ["--tls-cert", files.both]
    done = _run("from reserve.cli.command import main; sys.exit(main(sys.argv[1:]))", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("reserve: 2 certificates were given (--tls-cert): each client gets the one for the host")
    assert "the package cryptography is needed, which cannot be imported (" in line
    assert line.endswith("): pip install 'reserve[tls]'")
