"""Certificates that are replaced while clients connect, sessions that resume, and the certificate for each name."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import threading
from pathlib import Path

import pytest

from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.settings import CertificateFiles
from tests import tls
from tests.adversity.holding import Watched
from tests.adversity.tlssite import tls_site
from tests.apps.http.responses import receive, request
from tests.waiting import eventually

NAMES = ["one.example", "two.example", "*.three.example"]
CHECK = 1.0  # seconds between two looks at the files: less than any deadline of a client, because the clock leaps


def certificate_of(client: ssl.SSLSocket) -> bytes:
    der = client.getpeercert(binary_form=True)
    assert der
    return der


def first_certificate(path: str) -> bytes:
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text().partition(end)[0] + end)


def install(new: CertificateFiles, files: CertificateFiles) -> None:
    """Replace the files of a server by renaming copies of the new ones, as programs do."""
    for source, target in ((new.cert, files.cert), (new.key, files.key)):
        copy = f"{target}.new"
        shutil.copy(source, copy)
        Path(copy).replace(target)


def installed(folder: Path) -> CertificateFiles:
    """The files of a server, which may be replaced."""
    files = CertificateFiles(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    install(tls.issued(), files)
    return files


def assert_served(client: ssl.SSLSocket) -> None:
    client.sendall(request())
    assert receive(client).body == b"honest"


def connect(site: Watched, version: str = "", **options: object) -> ssl.SSLSocket:
    context = tls.client_context(version)
    return tls.wrap_client(site.connect_plain(), context=context, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["reload_tls", "a look at the files"])
def test_new_connections_get_new_certificates_while_clients_connect(how: str, tmp_path: Path) -> None:
    files = installed(tmp_path)
    adapter = BuiltinSSLAdapter(files.cert, files.key)
    with tls_site(ssl_adapter=adapter, tls_check=CHECK) as site:
        old = connect(site)
        first = certificate_of(old)
        assert_served(old)
        failures: list[BaseException] = []
        seen: list[set[bytes]] = [set() for _ in range(4)]
        counts = [0] * 4
        stop = threading.Event()

        def connect_repeatedly(number: int) -> None:
            try:
                while not stop.is_set():
                    with connect(site, "1.2" if number % 2 else "1.3") as client:
                        seen[number].add(certificate_of(client))
                        assert_served(client)
                        counts[number] += 1
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=connect_repeatedly, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for serial in range(1, 6):
                before = list(counts)
                eventually(lambda: failures or all(now > then for now, then in zip(counts, before, strict=True)))  # noqa: B023
                install(tls.issued(serial=serial), files)
                if how == "reload_tls":
                    site.server.reload_tls()
                else:
                    site.clock.advance(CHECK)
                newest = first_certificate(files.cert)
                eventually(lambda: failures or all(newest in certificates for certificates in seen))  # noqa: B023
                assert_served(old)  # an open connection goes on
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert certificate_of(old) == first
        assert [len(certificates) for certificates in seen] == [6] * 4
        old.close()
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().tls_failed == 0
    assert site.log.count("the certificates were loaded again; new connections get them") == 5


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "empty", "missing", "pipe", "pipe for the key"])
def test_files_that_cannot_be_used_leave_the_old_ones(broken: str, tmp_path: Path) -> None:
    files = installed(tmp_path)
    adapter = BuiltinSSLAdapter(files.cert, files.key)
    with tls_site(ssl_adapter=adapter, tls_check=CHECK) as site:
        with connect(site) as client:
            first = certificate_of(client)
        if broken == "key of another":
            shutil.copy(tls.issued(serial=1).key, files.key)
        elif broken == "missing":
            Path(files.cert).unlink()
        elif broken.startswith("pipe"):  # no process writes to it
            path = files.cert if broken == "pipe" else files.key
            Path(path).unlink()
            os.mkfifo(path)
        else:
            Path(files.cert).write_text("" if broken == "empty" else "no certificate\n")
        for _ in range(3):  # each look finds the same files, and one line is enough
            site.clock.advance(CHECK)
            with connect(site) as client:
                assert certificate_of(client) == first
                assert_served(client)
            site.server._runtime.tls.close()
        assert sum("the old ones stay" in line for line in site.log) <= 1
        eventually(lambda: sum("the old ones stay" in line for line in site.log) == 1)
        install(tls.issued(serial=2), files)
        site.clock.advance(CHECK)
        with connect(site):
            pass
        site.server._runtime.tls.close()
        with connect(site) as client:
            assert certificate_of(client) != first
            assert_served(client)


@tls.each_version
@pytest.mark.parametrize("name", ["localhost", *NAMES])
def test_sessions_are_resumed(version: str, name: str) -> None:
    """With each certificate: sessions belong to the context of the name that the client asks for."""
    adapter = BuiltinSSLAdapter([tls.issued(), *map(tls.issued, NAMES)])
    host = name.replace("*", "host")
    context = tls.client_context(version)
    with tls_site(ssl_adapter=adapter) as site:
        session = None
        for number in range(5):
            with tls.wrap_client(site.connect_plain(), context=context, name=host, session=session) as client:
                assert client.session_reused == (number > 0)
                assert ("DNS", name) in client.getpeercert()["subjectAltName"]  # type: ignore[index]
                assert_served(client)  # a ticket of TLS 1.3 comes after the handshake
                session = client.session
        stats = site.server.stats()
        assert (stats.tls_handshakes, stats.tls_resumed) == (5, 4)
        with tls.wrap_client(site.connect_plain(), context=context, name=host) as client:
            assert not client.session_reused
        eventually(lambda: site.server.stats().tls_handshakes == 6)
        assert site.server.stats().tls_resumed == 4


@tls.each_version
def test_each_name_gets_its_certificate_and_other_names_the_first(version: str) -> None:
    adapter = BuiltinSSLAdapter([tls.issued(), *map(tls.issued, NAMES)])
    context = tls.client_context(version)
    context.check_hostname = False
    with tls_site(ssl_adapter=adapter) as site:
        for name, expected in [
            ("one.example", "one.example"),
            ("TWO.example", "two.example"),
            ("a.three.example", "*.three.example"),
            ("three.example", "localhost"),
            ("b.a.three.example", "localhost"),
            ("unknown.example", "localhost"),
        ]:
            with tls.wrap_client(site.connect_plain(), context=context, name=name) as client:
                assert ("DNS", expected) in client.getpeercert()["subjectAltName"], name  # type: ignore[index]
                assert_served(client)


@tls.each_version
def test_a_client_with_a_session_from_before_a_reload_is_served(version: str, tmp_path: Path) -> None:
    files = installed(tmp_path)
    context = tls.client_context(version)
    with tls_site(ssl_adapter=BuiltinSSLAdapter(files.cert, files.key)) as site:
        with tls.wrap_client(site.connect_plain(), context=context) as client:
            assert_served(client)
            session = client.session
        install(tls.issued(serial=1), files)
        site.server.reload_tls()
        with contextlib.closing(tls.wrap_client(site.connect_plain(), context=context, session=session)) as client:
            assert_served(client)
        assert site.server.stats().tls_failed == 0
