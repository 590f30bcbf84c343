"""The value of ``--status-allow``."""

from __future__ import annotations

import pytest

from reserve.sockets.allowedclients import AllowedClients, is_list_of_clients


@pytest.mark.parametrize("text", ["any", "loopback", "10.0.0.0/8", "loopback,10.0.0.0/8, 2001:db8::/32", "unix"])
def test_what_may_be_written(text: str) -> None:
    assert is_list_of_clients(text)


@pytest.mark.parametrize(
    "text", ["", " ", ",", "any,loopback", "loopback,", "localhost", "10.0.0.1/8", "fe80::1%eth0", "loopback 10.0.0.1"]
)
def test_what_is_refused(text: str) -> None:
    assert not is_list_of_clients(text)


def test_who_is_listed() -> None:
    allowed = AllowedClients("loopback,10.0.0.0/8,2001:db8::7")
    assert (allowed.any, allowed.loopback) == (False, True)
    assert allowed.lists("10.200.0.1")
    assert allowed.lists("2001:db8::7")
    assert not allowed.lists("127.0.0.1")
    assert not allowed.lists("11.0.0.1")
    assert not allowed.lists("")
    assert AllowedClients("unix").lists("")
    assert AllowedClients("any").any
