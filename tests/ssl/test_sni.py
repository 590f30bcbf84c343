"""Which certificate answers to which name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.ssl.sni import NameTable


def table(*rows: str) -> NameTable[str]:
    """Each row's names, separated by blanks, lead to the row."""
    made: NameTable[str] = NameTable()
    for row in rows:
        made.add(row.split(), row)
    return made


@pytest.mark.parametrize("server_name", ["example.org", "EXAMPLE.org", "example.org.", "Example.Org."])
@pytest.mark.parametrize("name", ["example.org", "Example.ORG", "example.org."])
def test_a_name_matches_itself(name: str, server_name: str) -> None:
    assert table("other.example", name).find(server_name) == name


@pytest.mark.parametrize(
    "server_name", ["a.example.org", "A.EXAMPLE.ORG", "a.example.org.", "xn--bcher-kva.example.org"]
)
def test_a_wildcard_is_one_label(server_name: str) -> None:
    assert table("*.example.org").find(server_name) == "*.example.org"


@pytest.mark.parametrize(
    "server_name",
    ["example.org", "a.b.example.org", ".example.org", "aexample.org", "a.example.org..", "a.example.org.evil", "org"],
)
def test_and_nothing_else(server_name: str) -> None:
    assert table("*.example.org").find(server_name) is None


@pytest.mark.parametrize(
    "name", ["*", "*.", "a*.example.org", "*a.example.org", "a.*.org", "*.*.org", "**.example.org", "xn--*.example.org"]
)
def test_other_wildcards_match_nothing(name: str) -> None:
    made = table(name)
    for server_name in (name, "a.example.org", "aa.example.org", "a", "a.", "*.example.org", "xn--a.example.org"):
        assert made.find(server_name) is None


def test_an_exact_name_goes_before_a_wildcard() -> None:
    assert table("*.example.org", "a.example.org").find("a.example.org") == "a.example.org"


def test_the_first_certificate_with_a_name_wins() -> None:
    made = table("a.example *.example", "b.example a.example *.example")
    assert made.find("a.example") == "a.example *.example"
    assert made.find("b.example") == "b.example a.example *.example"
    assert made.find("c.example") == "a.example *.example"


@pytest.mark.parametrize("server_name", [None, "", ".", "*", "*.", "..", "\0", "a" * 70_000, "é"])
def test_what_leads_nowhere(server_name: str | None) -> None:
    assert table("a.example", "*.example", ".", "").find(server_name) is None


def test_addresses_match_only_themselves() -> None:
    made = table("192.0.2.1", "2001:db8::1", "*.2.3.4", "*.0.2.1")
    assert made.find("192.0.2.1") == "192.0.2.1"
    assert made.find("2001:DB8::1") == "2001:db8::1"
    assert made.find("1.2.3.4") is None
    assert made.find("::ffff:1.2.3.4") is None


def test_a_nul_ends_no_name() -> None:
    made = table("a.example\0.evil.example")
    assert made.find("a.example") is None


def test_a_value_may_be_anything() -> None:
    made: NameTable[int] = NameTable()
    made.add(["a.example"], 0)
    assert made.find("a.example") == 0


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)


@given(st.lists(LABEL, min_size=2, max_size=5).filter(lambda labels: not labels[-1].isdigit()), LABEL)
def test_a_wildcard_and_its_neighbours(labels: list[str], more: str) -> None:
    parent = ".".join(labels)
    made = table(f"*.{parent}")
    assert made.find(f"{more}.{parent}") == f"*.{parent}"
    assert made.find(parent) is None
    assert made.find(f"{more}.{more}.{parent}") is None


@given(st.lists(st.text()), st.text())
def test_any_names(names: list[str], server_name: str) -> None:
    made: NameTable[str] = NameTable()
    made.add(names, "value")
    assert made.find(server_name) in (None, "value")
