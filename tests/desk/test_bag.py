"""Bag and Headers: the last value of a name, and all of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.extras import library

library("markupsafe")

from reserve.desk.bag import Bag, Headers  # noqa: E402


def test_the_last_value_counts_and_all_are_kept() -> None:
    bag = Bag([("a", "1"), ("b", "2"), ("a", "3")])
    assert bag["a"] == bag.get("a") == "3"
    assert bag.get_list("a") == ["1", "3"]
    assert bag.get("c") is None
    assert bag.get("c", "x") == "x"
    assert bag.get_list("c") == []
    assert list(bag) == ["a", "b"]
    assert list(bag.items()) == [("a", "1"), ("a", "3"), ("b", "2")]
    assert bag.single == {"a": "3", "b": "2"}
    assert len(bag) == 2
    assert str(bag) == "{'a': ['1', '3'], 'b': ['2']}"


def test_an_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="c"):
        Bag({"a": "1"})["c"]


def test_assignment_adds_and_deletion_removes_all() -> None:
    bag = Bag({"a": "1"})
    bag["a"] = "2"
    assert bag.get_list("a") == ["1", "2"]
    del bag["a"]
    assert "a" not in bag
    assert not bag
    with pytest.raises(KeyError):
        del bag["a"]


def test_a_list_of_values_is_a_copy() -> None:
    bag = Bag({"a": "1"})
    bag.get_list("a").append("2")
    assert bag.get_list("a") == ["1"]


def test_a_bag_can_be_unpacked_and_made_a_dict() -> None:
    def function(**given: Any) -> dict[str, Any]:
        return given

    bag = Bag([("a", "1"), ("a", "2")])
    assert function(**bag) == dict(bag) == {"a": "2"}  # type: ignore[arg-type,call-overload]
    assert list(Bag(bag).items()) == [("a", "1"), ("a", "2")]


def test_names_of_headers_have_no_case() -> None:
    headers = Headers({"Content-Type": "text/html"})
    headers["ACCEPT"] = "a"
    headers["accept"] = "b"
    assert headers["content-type"] == headers.get("CONTENT-TYPE") == "text/html"
    assert headers.get_list("Accept") == ["a", "b"]
    assert "Content-type" in headers
    assert 5 not in headers
    assert list(headers.items()) == [("content-type", "text/html"), ("accept", "a"), ("accept", "b")]
    del headers["Accept"]
    assert list(headers) == ["content-type"]
