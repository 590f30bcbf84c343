"""The checks of Host and of the origin."""

from __future__ import annotations

from typing import Any

import pytest

from tests.desk.wsgicalls import environ_of
from tests.extras import library

library("markupsafe")

from reserve.desk.security import SecurityPolicy  # noqa: E402


def code(policy: SecurityPolicy, method: str = "GET", **fields: Any) -> int:
    refusal = policy.check(environ_of(method, "/", **fields))
    return 200 if refusal is None else refusal.code


# ---- Host ----


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "localhost",
        "localhost:8080",
        "LOCALHOST:1",
        "localhost.",
        "desk.localhost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.10:80",
        "[::1]",
        "[::1]:8080",
    ],
)
def test_names_of_this_machine_pass(host: str | None) -> None:
    assert code(SecurityPolicy(), HTTP_HOST=host) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("evillocalhost", 421),
        ("127.0.0.1evil", 421),
        ("0x7f.1", 421),
        ("192.168.1.5:8080", 421),
        ("0.0.0.0:8080", 421),
        ("[::2]:8080", 421),
        (":8080", 421),
        ("localhost@evil.example", 400),
        ("localhost/x", 400),
        ("evil.example:8080:80", 400),
        ("[::1", 400),
        ("a b", 400),
        ("localhost\n", 400),
    ],
)
def test_other_names_are_refused(host: str, expected: int) -> None:
    assert code(SecurityPolicy(), HTTP_HOST=host) == expected


def test_a_refusal_says_how_to_allow_the_name() -> None:
    refusal = SecurityPolicy().check_host("desk.example:8080")
    assert refusal is not None
    assert "hosts=['desk.example']" in refusal.detail


@pytest.mark.parametrize(
    ("hosts", "host", "expected"),
    [
        (["desk.example"], "desk.example", 200),
        (["Desk.Example."], "DESK.example:9999", 200),
        ("desk.example", "desk.example", 200),
        (["desk.example"], "localhost", 200),
        (["desk.example"], "www.desk.example", 421),
        (["desk.example:80"], "desk.example:80", 200),
        (["desk.example:80"], "desk.example:81", 421),
        (["desk.example:80"], "desk.example", 421),
        (["*.desk.example"], "www.desk.example:80", 200),
        (["*.desk.example"], "a.b.desk.example", 200),
        (["*.desk.example"], "desk.example", 421),
        (["*.desk.example"], "evildesk.example", 421),
        (["192.168.1.5"], "192.168.1.5:8080", 200),
        (["[fe80::1]"], "[FE80::1]:80", 200),
        ("*", "anything.example", 200),
        (["*"], "anything.example", 200),
        ([], "desk.example", 421),
    ],
)
def test_a_program_can_allow_names(hosts: Any, host: str, expected: int) -> None:
    assert code(SecurityPolicy(hosts), HTTP_HOST=host) == expected


@pytest.mark.parametrize("hosts", [["http://desk.example"], ["a b"], [""], [None], "desk.example/"])
def test_names_that_are_none(hosts: Any) -> None:
    with pytest.raises(ValueError, match="hosts are names"):
        SecurityPolicy(hosts)


# ---- the origin ----


@pytest.mark.parametrize(
    ("site", "origin", "expected"),
    [
        (None, None, 200),
        ("same-origin", None, 200),
        ("none", None, 200),
        ("same-origin", "http://localhost:8080", 200),
        ("same-origin", "null", 200),
        ("cross-site", "http://evil.example", 403),
        ("cross-site", None, 403),
        ("same-site", "http://localhost:3000", 403),
        ("cross-site", "http://localhost:8080", 403),
        ("something-new", None, 403),
        ("", None, 403),
        (None, "http://localhost:8080", 200),
        (None, "https://localhost:8080", 200),
        (None, "HTTP://LOCALHOST:8080", 200),
        (None, "http://localhost:3000", 403),
        (None, "http://localhost", 403),
        (None, "http://evil.example", 403),
        (None, "http://evil.example/localhost:8080", 403),
        (None, "null", 403),
        (None, "", 403),
        (None, "http://[", 403),
        (None, "localhost:8080", 403),
        (None, "//localhost:8080", 403),
        (None, "chrome-extension://localhost:8080", 403),
    ],
)
def test_forms_of_other_sites_are_refused(site: str | None, origin: str | None, expected: int) -> None:
    fields = {"HTTP_SEC_FETCH_SITE": site, "HTTP_ORIGIN": origin}
    for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
        assert code(SecurityPolicy(), method, **fields) == expected
    for method in ("GET", "HEAD", "OPTIONS"):
        assert code(SecurityPolicy(), method, **fields) == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost"),
        ("http://localhost", "localhost:80"),
        ("https://localhost:443", "localhost"),
        ("http://[::1]:80", "[::1]"),
    ],
)
def test_the_default_port_may_be_left_out(origin: str, host: str) -> None:
    assert code(SecurityPolicy(), "POST", HTTP_ORIGIN=origin, HTTP_HOST=host) == 200


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (True, "https://www.example", 200),
        (["https://www.example"], "https://www.example", 200),
        (["HTTPS://www.example"], "https://www.example", 200),
        ("https://www.example", "https://www.example", 200),
        (["https://www.example"], "http://www.example", 403),
        (["https://www.example"], "https://www.example:8443", 403),
        ([], "https://www.example", 403),
        (False, "https://www.example", 403),
    ],
)
def test_a_program_can_allow_origins(allowed: Any, origin: str, expected: int) -> None:
    policy = SecurityPolicy(cross_origin=allowed)
    assert code(policy, "POST", HTTP_ORIGIN=origin) == expected
    assert code(policy, "POST", HTTP_ORIGIN=origin, HTTP_SEC_FETCH_SITE="cross-site") == expected


@pytest.mark.parametrize("allowed", [["www.example"], ["https://www.example/"], [""], [None], "*", ["https://a b"]])
def test_origins_that_are_none(allowed: Any) -> None:
    with pytest.raises(ValueError, match="origins are like"):
        SecurityPolicy(cross_origin=allowed)


def test_a_refusal_names_the_origin() -> None:
    refusal = SecurityPolicy().check(environ_of("POST", HTTP_ORIGIN="http://evil.example"))
    assert refusal is not None
    assert "http://evil.example" in refusal.detail
    assert "cross_origin=" in refusal.detail
