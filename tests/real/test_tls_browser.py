"""A real browser with a client certificate."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.real.conftest import Serve
from tests.real.processes import clean_environ
from tests.real.webdriver import Browser

pytestmark = pytest.mark.peer


def test_a_browser_sends_its_certificate_and_follows_a_redirect(
    serve: Serve, authority: Authority, cert: str, require_peer: Callable[[str], str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    store = home / ".pki" / "nssdb"  # where Chromium looks for authorities and certificates
    store.mkdir(parents=True)
    ann = authority.issue("ann", "ann@a.test", common_name="ann").both
    bundle = tmp_path / "ann.p12"
    certutil, database = require_peer("certutil"), f"sql:{store}"
    for command in (
        [certutil, "-d", database, "-N", "--empty-password"],
        [certutil, "-d", database, "-A", "-n", "authority", "-t", "C,,", "-i", authority.pem],
        [require_peer("openssl"), "pkcs12", "-export", "-in", ann, "-out", str(bundle), "-passout", "pass:x"],
        [require_peer("pk12util"), "-d", database, "-i", str(bundle), "-W", "x"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    options = ["--tls-cert", cert, "--redirect-http", "127.0.0.1:0"]
    options += ["--tls-client-cert", "required", "--tls-client-ca", authority.pem]
    with serve("app", "http", "wsgi", "everything", *options, log=None) as server:
        port = server.address[1]
        # The browser sends the first certificate that fits, without asking its user.
        selection = {f"https://a.test:{port},*": {"setting": {"filters": [{}]}}}
        with Browser(
            require_peer("chromedriver"),
            require_peer("chromium"),
            tmp_path / "profile",
            flags=["--host-resolver-rules=MAP *.test 127.0.0.1"],
            settings={"profile": {"content_settings": {"exceptions": {"auto_select_certificate": selection}}}},
            environ={**clean_environ(), "HOME": str(home)},
        ) as browser:
            redirect_port = server.addresses[1].rstrip("/").rpartition(":")[2]
            browser.go(f"http://a.test:{redirect_port}/facts")
            assert browser.url == f"https://a.test:{port}/facts"
            facts = json.loads(browser.text("body"))
            assert browser.run("return window.isSecureContext")
            page = browser.run("return fetch('/generated').then(response => response.text())")
    assert (facts["SSL_CLIENT_VERIFY"], facts["SSL_CLIENT_S_DN_CN"]) == ("SUCCESS", "ann")
    assert (facts["SSL_PROTOCOL"], facts["SSL_TLS_SNI"]) == ("TLSv1.3", "a.test")
    assert page.startswith("0\n1\n")
