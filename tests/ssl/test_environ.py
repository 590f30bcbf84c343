"""The variables of a session, and that nothing a client says gets out of its value."""

from __future__ import annotations

import re
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from reserve.ssl.environ import pem, session_variables
from tests.ssl import issuing

SESSION = {
    "protocol": "TLSv1.3",
    "cipher": "TLS_AES_256_GCM_SHA384",
    "bits": 256,
    "server_name": "a.example.org",
    "session_id": b"\xed\xad\x00",
    "resumed": False,
    "alpn": "http/1.1",
}


def test_a_session() -> None:
    assert session_variables(**SESSION) == {
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_CIPHER_EXPORT": "false",
        "SSL_CIPHER_USEKEYSIZE": "256",
        "SSL_CIPHER_ALGKEYSIZE": "256",
        "SSL_COMPRESS_METHOD": "NULL",
        "SSL_SECURE_RENEG": "false",
        "SSL_SESSION_ID": "edad00",
        "SSL_SESSION_RESUMED": "Initial",
        "SSL_TLS_SNI": "a.example.org",
        "SSL_TLS_ALPN": "http/1.1",
    }


def test_what_a_session_does_not_have_is_left_out() -> None:
    variables = session_variables(**SESSION | {"server_name": None, "session_id": b"", "alpn": None, "resumed": True})
    assert variables["SSL_SESSION_RESUMED"] == "Resumed"
    assert {"SSL_SESSION_ID", "SSL_TLS_SNI", "SSL_TLS_ALPN"}.isdisjoint(variables)


@given(st.text(), st.text(), st.binary())
def test_what_a_client_names_is_safe_in_an_environ(server_name: str, alpn: str, session_id: bytes) -> None:
    variables = session_variables(**SESSION | {"server_name": server_name, "alpn": alpn, "session_id": session_id})
    for name, value in variables.items():
        assert re.fullmatch(r"[A-Za-z0-9_]+", name)
        value.encode("latin-1").decode("utf-8")
        assert not re.search(r"[\0-\x1f\x7f]", value)


def test_a_lone_surrogate_is_shown_as_an_escape() -> None:
    assert session_variables(**SESSION | {"server_name": "a\ud800"})["SSL_TLS_SNI"] == "a\\ud800"


def test_pem_is_written_as_others_write_it() -> None:
    issued = issuing.issue()
    assert pem(issuing.der(issued)) == issuing.pem(issued).decode()


def test_the_import_is_cheap() -> None:
    code = (
        "import sys; before = set(sys.modules); import reserve.ssl.environ, reserve.ssl.sni;"
        "print(sorted({'cryptography', 'ipaddress', 'socket', 'ssl', 'urllib'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
