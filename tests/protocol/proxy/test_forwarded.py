"""What frontends say of their clients in header fields, and what clients say to look like others."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.proxy.forwarded import FIELD_NAMES, KEYS, MAX_HOPS, ForwardedFields, is_choice_of_fields
from reserve.sockets.proxies import TrustedProxies

PEER, PORT = "10.0.0.1", "40000"
CLIENT = "203.0.113.9"
TRUSTED = "10.0.0.0/8,2001:db8:1::/48"
ALL = "x-forwarded-for,x-forwarded-proto,x-forwarded-host,x-forwarded-port,x-forwarded-prefix"


def environ(**fields: str) -> dict[str, Any]:
    """An environ with header fields, by their names with underscores in lower case."""
    return {
        "REMOTE_ADDR": PEER,
        "REMOTE_PORT": PORT,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a",
        "HTTP_HOST": "inner.test",
        "wsgi.url_scheme": "http",
        **{f"HTTP_{name.upper()}": value for name, value in fields.items()},
    }


def applied(believed: str, *, trusted: bool = True, proxies: str = TRUSTED, **fields: str) -> dict[str, Any]:
    result = environ(**fields)
    ForwardedFields(believed, TrustedProxies(proxies).trusts).apply(result, trusted=trusted)
    return result


def attempt(believed: str, **options: Any) -> dict[str, Any] | int:
    """The environ, or the status of a refusal."""
    try:
        return applied(believed, **options)
    except RemoteError as error:
        return error.status if len(error.message) < 250 else 0


def client(believed: str, value: str, **options: Any) -> tuple[str, str] | int:
    """Address and port of the client after one field, or the status of a refusal."""
    result = attempt(believed, **{believed.replace("-", "_"): value}, **options)
    return result if isinstance(result, int) else (result["REMOTE_ADDR"], result["REMOTE_PORT"])


EVERYTHING = {
    "forwarded": "for=1.1.1.1;proto=https;host=evil.test",
    "x_forwarded_for": "1.1.1.1",
    "x_forwarded_proto": "https",
    "x_forwarded_host": "evil.test",
    "x_forwarded_port": "1",
    "x_forwarded_prefix": "/evil",
}


@pytest.mark.parametrize("believed", ["", "forwarded", "x-forwarded-for", ALL])
def test_nothing_of_a_stranger_is_left(believed: str) -> None:
    assert applied(believed, trusted=False, **EVERYTHING) == environ()


@pytest.mark.parametrize("believed", ["", *FIELD_NAMES])
def test_a_field_that_the_frontend_does_not_set_is_the_clients_own(believed: str) -> None:
    """The frontend sets one of the fields and passes the others on, which the client has sent."""
    result = applied(believed, **EVERYTHING)
    assert {key for key in KEYS.values() if key in result} == ({KEYS[believed]} if believed else set())
    alone = {believed.replace("-", "_"): EVERYTHING[believed.replace("-", "_")]} if believed else {}
    assert result == applied(believed, **alone)
    if not believed:
        assert result == environ()


def test_a_request_without_these_fields_is_not_changed() -> None:
    assert applied(ALL) == applied("forwarded") == environ()


IN_BOTH = [
    (CLIENT, (CLIENT, "")),
    (f"1.1.1.1, {CLIENT}", (CLIENT, "")),
    (f"1.1.1.1, {CLIENT}, 10.0.0.2, 10.0.0.3", (CLIENT, "")),
    (f"10.9.9.9, 127.0.0.1, {CLIENT}, 10.0.0.2", (CLIENT, "")),
    ("10.0.0.7", ("10.0.0.7", "")),
    ("10.0.0.7, 10.0.0.8", ("10.0.0.7", "")),
    (f"garbage, {CLIENT}", (CLIENT, "")),
    ("unknown", ("", "")),
    ("_hidden", ("", "")),
    ("unknown, 10.0.0.2", ("", "")),
    (f"{CLIENT}, unknown", ("", "")),
    (f"{CLIENT}, _SEVKISEK, 10.0.0.2", ("", "")),
    ("garbage", 400),
    ("garbage, 10.0.0.2", 400),
    ("localhost", 400),
    ("1.2.3", 400),
    ("1.2.3.04", 400),
    ("1.2.3.256", 400),
]


@pytest.mark.parametrize(("addresses", "expected"), IN_BOTH)
def test_the_right_most_address_that_is_not_trusted(addresses: str, expected: object) -> None:
    assert client("x-forwarded-for", addresses) == expected
    assert client("forwarded", ", ".join(f"for={one}" for one in addresses.split(", "))) == expected
    assert client("forwarded", ",".join(f'by=_me;For="{one}";proto=http' for one in addresses.split(", "))) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"{CLIENT}:443", (CLIENT, "443")),
        (f"  {CLIENT}\t", (CLIENT, "")),
        ("[2001:db8::9]", ("2001:db8::9", "")),
        ("[2001:DB8:0::9]:8443", ("2001:db8::9", "8443")),
        ("2001:db8::9", ("2001:db8::9", "")),
        ('"[2001:db8::9]:1"', ("2001:db8::9", "1")),
        ("::ffff:203.0.113.9", (CLIENT, "")),
        (f"{CLIENT}, ::ffff:10.0.0.2", (CLIENT, "")),
        (f"{CLIENT}, [2001:db8:1::5]:9, 10.0.0.2:80", (CLIENT, "")),
        ("unknown:80", ("", "")),
        ("unix:", ("", "")),
        ("_a.b-c_d:_p", ("", "")),
        ("", ("", "")),
        (f"{CLIENT},", ("", "")),
        (",", ("", "")),
        (f"{CLIENT}:", 400),
        (f"{CLIENT}:123456", 400),
        ("[2001:db8::9", 400),
        ("[2001:db8::9]x", 400),
        ("[1.2.3.4]", 400),
        ("fe80::1%eth0", 400),
        ("1.1.1.1 2.2.2.2", 400),
        ("1.1.1.1;2.2.2.2", 400),
        ("for=1.1.1.1", 400),
        ("_", 400),
        ("0x7f.1", 400),
        ("2130706433", 400),
        ("\xb2.1.1.1", 400),
    ],
)
def test_x_forwarded_for(value: str, expected: object) -> None:
    assert client("x-forwarded-for", value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('for="[2001:db8::9]:4711"', ("2001:db8::9", "4711")),
        ('FOR="203.0.113.9:80";by=10.0.0.1', (CLIENT, "80")),
        ('for = "203.0.113.9"', 400),
        ("for=203.0.113.9 ; proto=https", (CLIENT, "")),
        (";;for=203.0.113.9;", (CLIENT, "")),
        ('for="203.0.\\113.9"', (CLIENT, "")),
        ('for=1.1.1.1;by="a,b;c=\\"d\\"", for=203.0.113.9;by="x, for=2.2.2.2"', (CLIENT, "")),
        ("proto=https", ("", "")),
        ("for=1.1.1.1, proto=https", ("", "")),
        ("", ("", "")),
        ("for=1.1.1.1,", ("", "")),
        ("for=1.1.1.1;for=203.0.113.9", 400),
        ("for", 400),
        ("for=", 400),
        ("=1.1.1.1", 400),
        ("for=1.1.1.1 proto=https", 400),
        ('for="1.1.1.1', 400),
        ('for=1.1.1.1"', 400),
        ('for="1.1.1.1"x', 400),
        ('for="1.1.1.1\\"', 400),
        ("for=1.1.1.1;proto", 400),
        # A client tries to have what the frontend appends taken for a part of its own text.
        ('for=1.1.1.1;by=", for=203.0.113.9', (CLIENT, "")),
        ('for=1.1.1.1;by="\\, for=203.0.113.9', (CLIENT, "")),
        ('for=1.1.1.1;by=", for="203.0.113.9"', (CLIENT, "")),
        ('for=1.1.1.1;by="x\\", for="[2001:db8::9]"', ("2001:db8::9", "")),
        ('"\\\\\\"", "\\, for=203.0.113.9;by="a\\\\"', (CLIENT, "")),
    ],
)
def test_forwarded(value: str, expected: object) -> None:
    assert client("forwarded", value) == expected


def test_forwarded_tells_scheme_and_host_as_the_frontend_at_the_client_saw_them() -> None:
    result = applied(
        "forwarded",
        forwarded='for=1.1.1.1;proto=http;host=evil.test, for=203.0.113.9;proto=https;host="shop.test:8443", '
        "for=10.0.0.2;proto=http;host=inner.test, for=10.0.0.3",
    )
    assert (result["REMOTE_ADDR"], result["wsgi.url_scheme"], result["HTTPS"]) == (CLIENT, "https", "on")
    assert (result["HTTP_HOST"], result["SERVER_NAME"], result["SERVER_PORT"]) == (
        "shop.test:8443",
        "shop.test",
        "8443",
    )
    result = applied("forwarded", forwarded="for=203.0.113.9, for=10.0.0.2;proto=https")
    assert (result["REMOTE_ADDR"], result["wsgi.url_scheme"], result["SERVER_PORT"]) == (CLIENT, "https", "443")


def test_a_list_of_trusted_proxies_has_an_end() -> None:
    names = [f"10.0.1.{number}" for number in range(MAX_HOPS + 5)]
    assert client("x-forwarded-for", ",".join(names)) == (names[5], "")
    assert client("forwarded", ",".join(f"for={name}" for name in names)) == (names[5], "")


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http", "http"),
        ("wss", "https"),
        ("ws", "http"),
        ("https, http", "http"),
        ("http,https", "https"),
        ("", "http"),
        ("gopher", 400),
        ("https, gopher", 400),
        ("https://", 400),
    ],
)
def test_x_forwarded_proto(value: str, scheme: str | int) -> None:
    result = attempt("x-forwarded-proto", x_forwarded_proto=value)
    if isinstance(result, int):
        assert result == scheme
        return
    assert result["wsgi.url_scheme"] == scheme
    assert result.get("HTTPS") == ("on" if scheme == "https" else None)
    assert (result["REMOTE_ADDR"], result["REMOTE_PORT"]) == (PEER, PORT)
    assert result["HTTP_HOST"] == "inner.test"


def test_http_in_front_of_a_port_of_tls() -> None:
    result = environ(x_forwarded_proto="http")
    result.update({"wsgi.url_scheme": "https", "HTTPS": "on"})
    ForwardedFields("x-forwarded-proto", TrustedProxies(TRUSTED).trusts).apply(result, trusted=True)
    assert (result["wsgi.url_scheme"], "HTTPS" in result) == ("http", False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "shop.test"}, ("shop.test", "shop.test", "80")),
        ({"host": "evil.test, shop.test:81"}, ("shop.test:81", "shop.test", "81")),
        ({"host": "[2001:db8::1]:8443"}, ("[2001:db8::1]:8443", "[2001:db8::1]", "8443")),
        ({"host": "[2001:db8::1]"}, ("[2001:db8::1]", "[2001:db8::1]", "80")),
        ({"host": "shop.test", "proto": "https"}, ("shop.test", "shop.test", "443")),
        ({"host": "shop.test", "proto": "https", "port": "8443"}, ("shop.test:8443", "shop.test", "8443")),
        ({"host": "shop.test:1", "proto": "https", "port": "443"}, ("shop.test", "shop.test", "443")),
        ({"port": "8080"}, ("inner.test:8080", "127.0.0.1", "8080")),
        ({"port": "1, 80"}, ("inner.test", "127.0.0.1", "80")),
        ({"proto": "https"}, ("inner.test", "127.0.0.1", "443")),
        ({"host": ""}, ("inner.test", "127.0.0.1", "8000")),
        ({"host": "a b"}, 400),
        ({"host": "u@shop.test"}, 400),
        ({"host": "shop.test/x"}, 400),
        ({"host": "shop.test:99999"}, 400),
        ({"port": "0"}, 400),
        ({"port": "65536"}, 400),
        ({"port": "\xb2"}, 400),
        ({"port": "8o"}, 400),
    ],
)
def test_host_and_port(fields: dict[str, str], expected: tuple[str, str, str] | int) -> None:
    result = attempt(ALL, **{f"x_forwarded_{name}": value for name, value in fields.items()})
    if isinstance(result, int):
        assert result == expected
        return
    assert (result["HTTP_HOST"], result["SERVER_NAME"], result["SERVER_PORT"]) == expected


def test_a_port_without_a_host() -> None:
    result = environ(x_forwarded_port="8443")
    del result["HTTP_HOST"]
    ForwardedFields(ALL, TrustedProxies(TRUSTED).trusts).apply(result, trusted=True)
    assert "HTTP_HOST" not in result
    assert result["SERVER_PORT"] == "8443"


@pytest.mark.parametrize(
    ("value", "script"),
    [
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/shop/de", "/shop/de"),
        ("/evil, /shop", "/shop"),
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/", ""),
        ("", ""),
        ("shop", 400),
        ("//evil.test", 400),
        ("/%2Fevil.test", 400),
        ("/\\evil.test", 400),
        ("/%5Cevil.test", 400),
        ("/a?b", 400),
        ("/a#b", 400),
        ("/a b", 400),
        ("http://a/", 400),
    ],
)
def test_x_forwarded_prefix(value: str, script: str | int) -> None:
    result = attempt("x-forwarded-prefix", x_forwarded_prefix=value)
    if isinstance(result, int):
        assert result == script
        return
    assert (result["SCRIPT_NAME"], result["PATH_INFO"]) == (script, "/a")
    assert result.get("reserve.forwarded_prefix", "") == script


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", True),
        (ALL, True),
        ("forwarded", True),
        ("x-forwarded-for", True),
        ("forwarded,x-forwarded-for", False),
        ("x-forwarded-for,x-forwarded-for", False),
        ("X-Forwarded-For", False),
        ("x-forwarded-for, x-forwarded-proto", False),
        ("x-real-ip", False),
        (",", False),
    ],
)
def test_choices_of_fields(text: str, allowed: bool) -> None:
    assert is_choice_of_fields(text) is allowed


HOSTILE = [
    ("x-forwarded-for", "10.0.0.2," * 1820),
    ("x-forwarded-for", "," * 16384),
    ("x-forwarded-for", "[" * 16384),
    ("forwarded", "for=10.0.0.2," * 1260),
    ("forwarded", '"' * 16383),
    ("forwarded", '\\"' * 8000),
    ("forwarded", '"' + '\\"' * 8000),
    ("forwarded", "\\" * 16000 + '"'),
    ("forwarded", ";" * 16384),
    ("forwarded", "for=" + "a" * 16000 + "=="),
    ("forwarded", 'for="' + "\\a" * 8000),
    ("forwarded", "a=b;" * 4000),
    ("x-forwarded-host", "a." * 8000),
    ("x-forwarded-prefix", "/" * 16384),
    ("x-forwarded-prefix", "/" + "%" * 16383),
    ("x-forwarded-port", "1" * 16384),
]


@pytest.mark.parametrize(("believed", "value"), HOSTILE, ids=range(len(HOSTILE)))
def test_long_values_ask_for_few_addresses(believed: str, value: str) -> None:
    asked: list[str] = []
    fields = ForwardedFields(believed, lambda host: asked.append(host) is None)
    with contextlib.suppress(RemoteError):
        fields.apply(environ(**{believed.replace("-", "_"): value}), trusted=True)
    assert len(asked) <= MAX_HOPS


@given(
    st.sampled_from(["x-forwarded-for", "forwarded"]),
    st.text(st.sampled_from('for=,; "\\.:[]10unkw_\xe9\t'), max_size=60),
    st.ip_addresses(),
)
def test_nothing_that_a_client_writes_changes_who_it_is(believed: str, text: str, address: Any) -> None:
    """A frontend appends the client's address to whatever the client has sent."""
    assume(not TrustedProxies(TRUSTED).trusts(str(address)) and getattr(address, "ipv4_mapped", None) is None)
    host = f"[{address}]" if address.version == 6 else str(address)
    item = f'for="{host}"' if believed == "forwarded" else host
    assert client(believed, f"{text}, {item}") == (str(address), "")


@given(st.sampled_from(FIELD_NAMES), st.text(st.characters(max_codepoint=255), max_size=80))
def test_any_value_is_read_or_refused(believed: str, value: str) -> None:
    assert client(believed, value) == 400 or isinstance(client(believed, value), tuple)
