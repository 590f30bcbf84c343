"""TLS with cheroot's adapters by name, without cheroot: its parameters, and contexts that a program changes."""

from __future__ import annotations

import http.client
import ssl
from typing import Any

import pytest

from reserve.compat.cheroot import wsgi
from reserve.compat.cheroot.server import get_ssl_adapter_class
from reserve.compat.cheroot.ssl import Adapter
from reserve.errors import StartupError
from reserve.testing import check_adapter
from tests.compat.cheroot.serving import Serving
from tests.tls import client_context, issued
from tests.waiting import PATIENCE

KINDS = ["builtin", "pyopenssl"]


def app(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])
    names = ("wsgi.url_scheme", "HTTPS", "SSL_PROTOCOL")
    return [" ".join(environ[name] for name in names).encode()]


def fetch(server: Any, context: ssl.SSLContext | None = None) -> str:
    client = http.client.HTTPSConnection(*server.bind_addr, timeout=PATIENCE, context=context or client_context())
    try:
        client.request("GET", "/")
        return client.getresponse().read().decode()
    finally:
        client.close()


def serve(adapter: Any) -> Serving:
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=2)
    server.ssl_adapter = adapter
    return Serving(server)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_takes_cheroots_parameters(kind: str) -> None:
    files = issued()
    adapter = get_ssl_adapter_class(kind)(files.cert, files.key, None, "ECDHE+AESGCM")
    assert (adapter.certificate, adapter.private_key, adapter.ciphers) == (files.cert, files.key, "ECDHE+AESGCM")
    with serve(adapter) as served:
        assert fetch(served.server) == "https on TLSv1.3"


@pytest.mark.parametrize("kind", KINDS)
def test_the_chain_is_completed_from_a_file_of_its_own(kind: str) -> None:
    files = issued()
    adapter = get_ssl_adapter_class(kind)(files.cert, files.key, files.cert)
    with serve(adapter) as served:
        assert fetch(served.server) == "https on TLSv1.3"
    server = wsgi.Server(("127.0.0.1", 0), app)
    server.ssl_adapter = get_ssl_adapter_class(kind)(files.cert, files.key, "/nowhere")
    with pytest.raises(StartupError, match="chain /nowhere cannot be loaded"):
        server.prepare()
    assert (server.ready, server.socket) == (False, None)


def test_a_program_changes_the_context_of_the_builtin_adapter() -> None:
    files = issued()
    adapter = get_ssl_adapter_class()(files.cert, files.key)
    adapter.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve(adapter) as served:
        assert fetch(served.server) == "https on TLSv1.2"
        assert not adapter.changed()
        with pytest.raises(StartupError, match="not loaded again"):
            adapter.reload()
    with pytest.raises(TypeError, match=r"ssl\.SSLContext"):
        adapter.context = "a context"


def test_a_program_sets_a_context_of_its_own() -> None:
    files = issued()
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(files.cert, files.key)
    own.maximum_version = ssl.TLSVersion.TLSv1_2
    adapter = get_ssl_adapter_class()(files.cert, files.key)
    adapter.context = own
    with serve(adapter) as served:
        assert fetch(served.server) == "https on TLSv1.2"


def test_a_program_sets_a_context_of_pyopenssl() -> None:
    files = issued()
    adapter = get_ssl_adapter_class("pyopenssl")(files.cert, files.key)
    from OpenSSL import SSL

    adapter.context = adapter.get_context()
    adapter.context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with serve(adapter) as served:
        assert fetch(served.server) == "https on TLSv1.2"
        assert not adapter.changed()
        with pytest.raises(StartupError, match="not loaded again"):
            adapter.reload()


def test_an_adapter_that_a_program_has_derived() -> None:
    class Own(Adapter):
        def wrap(self, sock: Any) -> Any:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.certificate, self.private_key)
            return context.wrap_socket(sock, server_side=True), {"HTTPS": "on", "SSL_PROTOCOL": "own"}

    files = issued()
    assert files.key is not None
    served = serve(Own(files.cert, files.key))
    served.server.error_log = lambda *_, **__: None
    with served:
        assert fetch(served.server) == "https on own"


def test_cheroots_own_adapter_is_accepted() -> None:
    builtin = pytest.importorskip("cheroot.ssl.builtin")
    files = issued()
    with serve(builtin.BuiltinSSLAdapter(files.cert, files.key)) as served:
        assert fetch(served.server).startswith("https on TLSv1.")


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_passes_the_conformance_suite(kind: str) -> None:
    first, second = issued(), issued("other.test")
    assert first.key is not None
    assert second.key is not None
    check_adapter(get_ssl_adapter_class(kind), (first.cert, first.key), (second.cert, second.key))


def test_a_wrong_certificate_is_found_by_prepare() -> None:
    server = wsgi.Server(("127.0.0.1", 0), app)
    server.ssl_adapter = get_ssl_adapter_class()("/nowhere.pem", "/nowhere.key")
    with pytest.raises(StartupError, match=r"nowhere\.pem"):
        server.prepare()
    server.stop()
    server.ssl_adapter = None
    server.prepare()
    server.stop()
