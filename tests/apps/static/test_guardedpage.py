"""``--status-allow``: who may see a page of the server's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from reserve.apps._static.guardedpage import GuardedPage
from reserve.engine.connections.peers import address_of
from reserve.sockets.allowedclients import AllowedClients

LOCAL = ("127.0.0.1", 50000)
REMOTE = ("192.0.2.9", 50000)
UNIX = ""


def refusal(
    allow: str,
    *,
    peer: Any = LOCAL,
    trusted: str = "",
    client: str | None = None,
    removed: bool = False,
    host: str = "localhost:8080",
    **fields: str,
) -> str:
    """Why a request is refused.

    :param peer: the other end of the connection.
    :param client: the client that a trusted frontend names.
    :param removed: fields of a frontend that is not trusted were removed.
    """
    sock = SimpleNamespace(getpeername=lambda: peer)
    server = SimpleNamespace(settings=SimpleNamespace(trusted_proxies=trusted))
    connection = SimpleNamespace(sock=sock, peer=peer, proxy=None, server=server)
    environ = {"REMOTE_ADDR": address_of(peer)[0] if client is None else client, "HTTP_HOST": host, **fields}
    head = SimpleNamespace(environ=environ, untrusted_fields=removed)
    page = GuardedPage(cast("Any", None), AllowedClients(allow), "the page is for some")
    return page.refusal(cast("Any", connection), cast("Any", head))


def test_a_client_on_this_machine_sees_it() -> None:
    assert refusal("loopback") == ""
    assert refusal("loopback", peer=("::1", 1, 0, 0), host="[::1]:80") == ""


@pytest.mark.parametrize("peer", [REMOTE, UNIX])
def test_others_do_not(peer: Any) -> None:
    assert refusal("loopback", peer=peer) == "the page is for some; its client is not among them"


@pytest.mark.parametrize("allow", ["loopback", "127.0.0.1", "loopback,127.0.0.0/8,10.0.0.0/8"])
def test_a_page_of_another_site_does_not_get_it_from_the_machine_of_its_visitor(allow: str) -> None:
    assert "DNS rebinding" in refusal(allow, host="evil.example")
    assert "DNS rebinding" in refusal(allow, host="")


def test_networks_are_allowed_with_any_host() -> None:
    assert refusal("192.0.2.0/24", peer=REMOTE, host="shop.example") == ""
    assert refusal("loopback,192.0.2.0/24", peer=REMOTE, host="shop.example") == ""
    assert refusal("loopback,192.0.3.0/24", peer=REMOTE, host="shop.example")
    assert refusal("192.0.2.0/24", peer=("::ffff:192.0.2.9", 1, 0, 0)) == ""


def test_a_list_without_loopback_has_no_client_on_this_machine() -> None:
    assert refusal("192.0.2.0/24")


def test_unix_means_clients_without_an_address() -> None:
    assert refusal("unix", peer=UNIX) == ""
    assert refusal("unix")


@pytest.mark.parametrize("allow", ["loopback", "192.0.2.0/24,203.0.113.0/24", "unix,loopback"])
@pytest.mark.parametrize("peer", [LOCAL, REMOTE, UNIX])
def test_a_frontend_that_is_not_trusted_hides_its_client(allow: str, peer: Any) -> None:
    assert "is not one of --trusted-proxies" in refusal(allow, peer=peer, HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert "is not one of --trusted-proxies" in refusal(allow, peer=peer, HTTP_VIA="1.1 front")
    assert "is not one of --trusted-proxies" in refusal(allow, peer=peer, removed=True, trusted="198.51.100.1")


def test_behind_a_trusted_frontend_its_client_counts() -> None:
    behind: dict[str, Any] = {"trusted": "127.0.0.1,192.0.2.9,unix", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    for peer in (LOCAL, REMOTE, UNIX):
        assert refusal("203.0.113.0/24", peer=peer, client="203.0.113.9", **behind) == ""
        assert refusal("loopback,192.0.2.0/24", peer=peer, client="203.0.113.9", **behind)
    assert refusal("loopback", client="127.0.0.1", **behind) == ""
    assert "its frontend is elsewhere" in refusal("loopback", peer=REMOTE, client="127.0.0.1", **behind)
    assert "its frontend is elsewhere" in refusal("loopback", peer=UNIX, client="127.0.0.1", **behind)


def test_any_is_everybody() -> None:
    for peer in (LOCAL, REMOTE, UNIX):
        assert refusal("any", peer=peer, host="evil.example", HTTP_VIA="1.1 front") == ""
