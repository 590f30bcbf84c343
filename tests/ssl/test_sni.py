"""Which server name a certificate's name matches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.ssl.sni import NameTable


def table(*rows: str) -> NameTable[str]:
    """A table that maps each row's names, separated by spaces, to the row."""
    names: NameTable[str] = NameTable()
    for row in rows:
        names.add(row.split(), row)
    return names


@pytest.mark.parametrize("server_name", ["example.org", "EXAMPLE.org", "example.org.", "Example.Org."])
@pytest.mark.parametrize("name", ["example.org", "Example.ORG", "example.org."])
def test_a_name_matches_itself(name: str, server_name: str) -> None:
    assert table("other.example", name).find(server_name) == name


@pytest.mark.parametrize(
    "server_name", ["a.example.org", "A.EXAMPLE.ORG", "a.example.org.", "xn--bcher-kva.example.org"]
)
def test_a_wildcard_matches_one_label(server_name: str) -> None:
    assert table("*.example.org").find(server_name) == "*.example.org"


@pytest.mark.parametrize(
    "server_name",
    ["example.org", "a.b.example.org", ".example.org", "aexample.org", "a.example.org..", "a.example.org.evil", "org"],
)
def test_a_wildcard_matches_no_other_name(server_name: str) -> None:
    assert table("*.example.org").find(server_name) is None


@pytest.mark.parametrize(
    "name", ["*", "*.", "a*.example.org", "*a.example.org", "a.*.org", "*.*.org", "**.example.org", "xn--*.example.org"]
)
def test_other_wildcards_match_nothing(name: str) -> None:
    names = table(name)
    for server_name in (name, "a.example.org", "aa.example.org", "a", "a.", "*.example.org", "xn--a.example.org"):
        assert names.find(server_name) is None


def test_an_exact_name_goes_before_a_wildcard() -> None:
    assert table("*.example.org", "a.example.org").find("a.example.org") == "a.example.org"


def test_the_first_certificate_with_a_name_wins() -> None:
    names = table("a.example *.example", "b.example a.example *.example")
    assert names.find("a.example") == "a.example *.example"
    assert names.find("b.example") == "b.example a.example *.example"
    assert names.find("c.example") == "a.example *.example"


@pytest.mark.parametrize("server_name", [None, "", ".", "*", "*.", "..", "\0", "a" * 70_000, "é"])
def test_server_names_that_match_nothing(server_name: str | None) -> None:
    assert table("a.example", "*.example", ".", "").find(server_name) is None


def test_addresses_match_only_themselves() -> None:
    names = table("192.0.2.1", "2001:db8::1", "*.2.3.4", "*.0.2.1")
    assert names.find("192.0.2.1") == "192.0.2.1"
    assert names.find("2001:DB8::1") == "2001:db8::1"
    assert names.find("1.2.3.4") is None
    assert names.find("::ffff:1.2.3.4") is None


def test_a_nul_does_not_end_a_name() -> None:
    names = table("a.example\0.evil.example")
    assert names.find("a.example") is None


def test_a_value_may_be_false() -> None:
    names: NameTable[int] = NameTable()
    names.add(["a.example"], 0)
    assert names.find("a.example") == 0


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABEL, min_size=2, max_size=5).filter(lambda labels: not labels[-1].isdigit()), LABEL)
def test_a_wildcard_matches_exactly_one_more_label(labels: list[str], more: str) -> None:
    parent = ".".join(labels)
    names = table(f"*.{parent}")
    assert names.find(f"{more}.{parent}") == f"*.{parent}"
    assert names.find(parent) is None
    assert names.find(f"{more}.{more}.{parent}") is None


@given(st.lists(st.text()), st.text())
def test_any_names_can_be_added_and_looked_up(names: list[str], server_name: str) -> None:
    mapping: NameTable[str] = NameTable()
    mapping.add(names, "value")
    assert mapping.find(server_name) in (None, "value")
