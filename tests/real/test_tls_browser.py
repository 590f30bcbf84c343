"""A real browser with a certificate of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.serving import clean_environ
from tests.real.webdriver import Browser

pytestmark = pytest.mark.peer


def test_it_shows_its_certificate_and_follows_a_redirect(
    serve: Serve, authority: Authority, require_peer: Callable[[str], str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    store = home / ".pki" / "nssdb"  # where Chromium looks for authorities and certificates
    store.mkdir(parents=True)
    cert, ann = authority.issue("a", "a.test").both, authority.issue("ann", "ann@a.test", common_name="ann").both
    bundle = tmp_path / "ann.p12"
    certutil, database = require_peer("certutil"), f"sql:{store}"
    for command in (
        [certutil, "-d", database, "-N", "--empty-password"],
        [certutil, "-d", database, "-A", "-n", "authority", "-t", "C,,", "-i", authority.pem],
        [require_peer("openssl"), "pkcs12", "-export", "-in", ann, "-out", str(bundle), "-passout", "pass:x"],
        [require_peer("pk12util"), "-d", database, "-i", str(bundle), "-W", "x"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    words = ["--tls-cert", cert, "--redirect-http", "127.0.0.1:0"]
    words += ["--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with serve("app", "http", "wsgi", "everything", *words, says=None) as server:
        port = server.address[1]
        chosen = {f"https://a.test:{port},*": {"setting": {"filters": [{}]}}}  # the first that fits, without a question
        with Browser(
            require_peer("chromedriver"),
            require_peer("chromium"),
            tmp_path / "profile",
            flags=["--host-resolver-rules=MAP *.test 127.0.0.1"],
            settings={"profile": {"content_settings": {"exceptions": {"auto_select_certificate": chosen}}}},
            environ={**clean_environ(), "HOME": str(home)},
        ) as browser:
            redirects = server.places[1].rstrip("/").rpartition(":")[2]
            browser.go(f"http://a.test:{redirects}/facts")
            assert browser.url == f"https://a.test:{port}/facts"
            facts = json.loads(browser.text("body"))
            assert browser.run("return window.isSecureContext")
            page = browser.run("return fetch('/generated').then(answer => answer.text())")
    assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "ann")
    assert (facts["SSL_PROTOCOL"], facts["SSL_TLS_SNI"]) == ("TLSv1.3", "a.test")
    assert page.startswith("0\n1\n")
