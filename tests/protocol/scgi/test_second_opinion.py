"""sioscgi, another parser of SCGI, reads the same variables and the same body."""

from __future__ import annotations

import importlib.util
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reserve.errors import RemoteError
from reserve.protocol.http1.limits import Limits
from reserve.protocol.scgi.codec import SCGICodec
from reserve.protocol.scgi.netstring import NetstringReader
from tests.protocol.scgi.messages import encode, netstring

if importlib.util.find_spec("sioscgi") is None and os.environ.get("RESERVE_CI") != "1":
    pytest.skip("sioscgi is not installed; the extra test has it", allow_module_level=True)

import sioscgi.request

NAMES = st.text("ABC_", min_size=1, max_size=8).map("X_{}".format)
VALUES = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20)


def theirs(data: bytes) -> tuple[dict[str, bytes], bytes] | None:
    """Variables and body; None: refused, or not complete."""
    reader = sioscgi.request.SCGIReader()
    variables: dict[str, bytes] = {}
    body = b""
    try:
        reader.receive_data(data)
        while (event := reader.next_event()) is not None:
            if isinstance(event, sioscgi.request.Headers):
                variables = dict(event.environment)
            elif isinstance(event, sioscgi.request.Body):
                body += event.data
            elif isinstance(event, sioscgi.request.End):
                return variables, body
    except sioscgi.request.Error:
        pass
    return None


def ours(data: bytes) -> tuple[dict[str, bytes], bytes] | None:
    reader = NetstringReader(Limits())
    codec = SCGICodec()
    try:
        block = reader.feed(data)
        if block is None:
            return None
        base = {"SCRIPT_NAME": "", "REMOTE_ADDR": ""}
        decoder_head = codec.parse_head(block, base, Limits())
        body = reader.rest
        if len(body) < (decoder_head.length or 0):
            return None
        variables = {name: value.encode("latin-1") for name, value in codec.variables(block)}
        return variables, body[: decoder_head.length]
    except RemoteError:
        return None


@given(st.dictionaries(NAMES, VALUES, max_size=6), st.binary(max_size=50))
def test_both_read_the_same(variables: dict[str, str], body: bytes) -> None:
    head = [("CONTENT_LENGTH", str(len(body))), ("SCGI", "1"), ("REQUEST_METHOD", "PUT"), *variables.items()]
    data = netstring(encode(*head)) + body
    expected = {name: value.encode("latin-1") for name, value in head}, body
    assert ours(data) == theirs(data) == expected
    assert ours(data[:-1]) is None
    assert theirs(data[:-1]) is None


@given(st.data())
def test_what_it_refuses_is_refused_here(data: st.DataObject) -> None:
    valid = netstring(encode(("CONTENT_LENGTH", "2"), ("SCGI", "1"), ("REQUEST_METHOD", "PUT"), ("X", "y"))) + b"ab"
    at = data.draw(st.integers(0, len(valid) - 3))
    changed = valid[:at] + data.draw(st.binary(max_size=3)) + valid[at + data.draw(st.integers(0, 3)) :]
    if theirs(changed) is None:
        assert ours(changed) is None
