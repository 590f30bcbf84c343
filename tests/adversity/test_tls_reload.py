"""Certificates that are replaced while clients come, sessions that are resumed, and the right certificate for each."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import threading
from pathlib import Path

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.ssl import BuiltinSSLAdapter
from reserve.ssl.settings import CertificateFiles
from tests import tls
from tests.adversity.holding import Watched, honest, watched
from tests.apps.http.responses import receive, request
from tests.waiting import eventually

HTTP = HTTPSettings(access_log=False)
each_version = pytest.mark.parametrize("version", ["1.2", "1.3"])
NAMES = ["one.example", "two.example", "*.three.example"]
CHECK = 1.0  # seconds between two looks at the files: less than any deadline of a client, for the clock only leaps


def shown(client: ssl.SSLSocket) -> bytes:
    der = client.getpeercert(binary_form=True)
    assert der
    return der


def first_of(path: str) -> bytes:
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text().partition(end)[0] + end)


def install(files: CertificateFiles, place: CertificateFiles) -> None:
    """As people do it: a new file takes the place of the old one."""
    for new, old in ((files.cert, place.cert), (files.key, place.key)):
        extra = f"{old}.new"
        shutil.copy(new, extra)
        Path(extra).replace(old)


def placed(folder: Path) -> CertificateFiles:
    place = CertificateFiles(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
    install(tls.issued(), place)
    return place


def ask(client: ssl.SSLSocket) -> None:
    client.sendall(request())
    assert receive(client).body == b"honest"


def connect(site: Watched, version: str = "", **options: object) -> ssl.SSLSocket:
    using = tls.context(version)
    return tls.secure(site.connect_plain(), using=using, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["reload_tls", "a look at the files"])
def test_new_certificates_while_clients_come(how: str, tmp_path: Path) -> None:
    place = placed(tmp_path)
    adapter = BuiltinSSLAdapter(place.cert, place.key)
    with watched(honest, http=HTTP, secure=True, ssl_adapter=adapter, tls_check=CHECK) as site:
        old = connect(site)
        first = shown(old)
        ask(old)
        failures: list[BaseException] = []
        seen: list[set[bytes]] = [set() for _ in range(4)]
        counts = [0] * 4
        stop = threading.Event()

        def come(number: int) -> None:
            try:
                while not stop.is_set():
                    with connect(site, "1.2" if number % 2 else "1.3") as client:
                        seen[number].add(shown(client))
                        ask(client)
                        counts[number] += 1
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=come, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for serial in range(1, 6):
                before = list(counts)
                eventually(lambda: failures or all(now > then for now, then in zip(counts, before, strict=True)))  # noqa: B023
                install(tls.issued(serial=serial), place)
                if how == "reload_tls":
                    site.server.reload_tls()
                else:
                    site.clock.advance(CHECK)
                newest = first_of(place.cert)
                eventually(lambda: failures or all(newest in one for one in seen))  # noqa: B023
                ask(old)  # what is open goes on
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failures == []
        assert shown(old) == first
        assert [len(one) for one in seen] == [6] * 4
        old.close()
        eventually(lambda: site.server.stats().connections == 0)
        assert site.server.stats().tls_failed == 0
    assert site.log.count("the certificates were loaded again; new connections get them") == 5


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "empty", "gone"])
def test_files_that_cannot_be_used_leave_the_old_ones(broken: str, tmp_path: Path) -> None:
    place = placed(tmp_path)
    adapter = BuiltinSSLAdapter(place.cert, place.key)
    with watched(honest, http=HTTP, secure=True, ssl_adapter=adapter, tls_check=CHECK) as site:
        with connect(site) as client:
            first = shown(client)
        if broken == "key of another":
            shutil.copy(tls.issued(serial=1).key, place.key)
        elif broken == "gone":
            Path(place.cert).unlink()
        else:
            Path(place.cert).write_text("" if broken == "empty" else "nothing that could be used\n")
        for _ in range(3):  # each look finds the same files, and one line is enough
            site.clock.advance(CHECK)
            with connect(site) as client:
                assert shown(client) == first
                ask(client)
            site.server.tls.close()
        assert sum("the old ones stay" in line for line in site.log) <= 1
        eventually(lambda: sum("the old ones stay" in line for line in site.log) == 1)
        install(tls.issued(serial=2), place)
        site.clock.advance(CHECK)
        with connect(site):
            pass
        site.server.tls.close()
        with connect(site) as client:
            assert shown(client) != first
            ask(client)


@each_version
@pytest.mark.parametrize("name", ["localhost", *NAMES])
def test_sessions_are_resumed(version: str, name: str) -> None:
    """Whichever certificate it is: the context of the name that was asked for counts."""
    adapter = BuiltinSSLAdapter([tls.issued(), *map(tls.issued, NAMES)])
    host = name.replace("*", "host")
    using = tls.context(version)
    with watched(honest, http=HTTP, secure=True, ssl_adapter=adapter) as site:
        session = None
        for number in range(5):
            with tls.secure(site.connect_plain(), using=using, name=host, session=session) as client:
                assert client.session_reused == (number > 0)
                assert ("DNS", name) in client.getpeercert()["subjectAltName"]  # type: ignore[index]
                ask(client)  # a ticket of TLS 1.3 comes behind the handshake
                session = client.session
        stats = site.server.stats()
        assert (stats.tls_handshakes, stats.tls_resumed) == (5, 4)
        with tls.secure(site.connect_plain(), using=using, name=host) as client:
            assert not client.session_reused
        eventually(lambda: site.server.stats().tls_handshakes == 6)
        assert site.server.stats().tls_resumed == 4


@each_version
def test_each_name_gets_its_certificate_and_the_others_the_first(version: str) -> None:
    adapter = BuiltinSSLAdapter([tls.issued(), *map(tls.issued, NAMES)])
    using = tls.context(version)
    using.check_hostname = False
    with watched(honest, http=HTTP, secure=True, ssl_adapter=adapter) as site:
        for asked, expected in [
            ("one.example", "one.example"),
            ("TWO.example", "two.example"),
            ("a.three.example", "*.three.example"),
            ("three.example", "localhost"),
            ("b.a.three.example", "localhost"),
            ("nobody.example", "localhost"),
        ]:
            with tls.secure(site.connect_plain(), using=using, name=asked) as client:
                assert ("DNS", expected) in client.getpeercert()["subjectAltName"], asked  # type: ignore[index]
                ask(client)


@each_version
def test_sessions_of_before_a_reload_are_no_trouble(version: str, tmp_path: Path) -> None:
    place = placed(tmp_path)
    using = tls.context(version)
    with watched(honest, http=HTTP, secure=True, ssl_adapter=BuiltinSSLAdapter(place.cert, place.key)) as site:
        with tls.secure(site.connect_plain(), using=using) as client:
            ask(client)
            session = client.session
        install(tls.issued(serial=1), place)
        site.server.reload_tls()
        with contextlib.closing(tls.secure(site.connect_plain(), using=using, session=session)) as client:
            ask(client)
        assert site.server.stats().tls_failed == 0
