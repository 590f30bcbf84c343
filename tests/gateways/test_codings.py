"""Accept-Encoding: what is read of the field, and which coding a response gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.gateways.codings import SUFFIXES, choose_coding, parse_accept_encoding

ALL = [coding for coding, _ in SUFFIXES]


@pytest.mark.parametrize(
    ("value", "weights"),
    [
        (None, {}),
        ("", {}),
        ("gzip", {"gzip": 1}),
        ("GZip;Q=0.5", {"gzip": 0.5}),
        ("x-gzip", {"gzip": 1}),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", {"br": 1, "gzip": 0.8, "*": 0.1}),
        (" gzip\t; q=0.123 ,, br ", {"gzip": 0.123, "br": 1}),
        ("identity;q=0", {"identity": 0}),
        ("gzip;q=2, br;q=-1, zstd;q=0.1234, a b, ;q=1, gzip;level=1", {}),
        ("gzip;q=0, gzip", {"gzip": 0}),
        (",".join(["x"] * 64 + ["gzip"]), {"x": 1}),
    ],
)
def test_the_weights_of_a_field(value: str | None, weights: dict[str, float]) -> None:
    assert parse_accept_encoding(value) == weights


@pytest.mark.parametrize(
    ("value", "available", "chosen"),
    [
        (None, ALL, "identity"),
        ("", ALL, "identity"),
        ("gzip", ALL, "gzip"),
        ("gzip, br, zstd", ALL, "br"),
        ("gzip, deflate, zstd", ALL, "zstd"),
        ("gzip, br", ["gzip"], "gzip"),
        ("br", ["gzip"], "identity"),
        ("br;q=0.5, gzip", ALL, "gzip"),
        ("gzip;q=0", ALL, "identity"),
        ("*", ALL, "br"),
        ("*, br;q=0", ALL, "zstd"),
        ("gzip;q=0.001", ALL, "gzip"),
        ("identity, gzip", ALL, "gzip"),
        ("identity, gzip;q=0.5", ALL, "identity"),
        ("identity;q=0.5, gzip;q=0.5", ALL, "gzip"),
        ("identity;q=0", ALL, None),
        ("identity;q=0", [], None),
        ("*;q=0", ALL, None),
        ("*;q=0, gzip", ALL, "gzip"),
        ("*;q=0, identity", ALL, "identity"),
        ("identity;q=0, gzip", ["gzip"], "gzip"),
        ("identity;q=0, *", ["gzip"], "gzip"),
    ],
)
def test_the_coding_of_a_response(value: str | None, available: list[str], chosen: str | None) -> None:
    assert choose_coding(parse_accept_encoding(value), available) == chosen


@given(st.text(st.sampled_from("gzipbr*identity,;q=01. \t"), max_size=80), st.lists(st.sampled_from(ALL), unique=True))
def test_what_is_chosen_is_acceptable(value: str, available: list[str]) -> None:
    weights = parse_accept_encoding(value)
    chosen = choose_coding(weights, available)
    if chosen is None:
        assert weights.get("identity", weights.get("*")) == 0
    elif chosen != "identity":
        assert chosen in available
        assert weights.get(chosen, weights.get("*", 0)) > 0
