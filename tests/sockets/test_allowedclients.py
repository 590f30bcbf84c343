"""The value of ``--status-allow``."""

from __future__ import annotations

import re

import pytest

from reserve.sockets.allowedclients import AllowedClients, is_list_of_clients


@pytest.mark.parametrize("text", ["any", "loopback", "10.0.0.0/8", "loopback,10.0.0.0/8, 2001:db8::/32", "unix"])
def test_what_may_be_written(text: str) -> None:
    assert is_list_of_clients(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "an item of the list is empty"),
        (" ", "an item of the list is empty"),
        (",", "an item of the list is empty"),
        ("loopback,", "an item of the list is empty"),
        ("any,loopback", "any is for everybody, and stands alone"),
        ("localhost", "'localhost' is no address and no network"),
        ("loopback,10.0.0.1/8", "the network of 10.0.0.1/8 is 10.0.0.0/8"),
        ("10.0.0.0/99", "'10.0.0.0/99' is no address and no network"),
        ("fe80::1%eth0", "'fe80::1%eth0' is no address and no network"),
        ("loopback 10.0.0.1", "'loopback 10.0.0.1' is no address and no network"),
    ],
)
def test_what_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        is_list_of_clients(text)


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
