"""reserve compared with h11 and llhttp: every disagreement is in the closed list of ``explained.py``."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reserve.protocol.http1 import body, head, headreader
from reserve.protocol.http1.fields import environ_key
from tests.differential.comparing import Disagreement, compare
from tests.differential.corpus import CORPUS, STREAMS
from tests.differential.explained import EXPLANATIONS, unexplained
from tests.differential.explanation import CHUNKS, GET, POST, Explanation
from tests.differential.oracles import ORACLES
from tests.fuzz.mutation import mutated
from tests.protocol.http1.delivery import NEXT
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED

STRICTNESS_ROWS = [row.example.sent for group in REFUSED.values() for row in group.rows if row.example is not None]
STRICTNESS_ROWS += [row.example.sent for rows in ACCEPTED.values() for row in rows]
BATCHES = 8
EXAMPLES = 3000


def unexplained_in(data: bytes, oracle: str) -> list[Disagreement]:
    return [disagreement for disagreement in compare(data, oracle) if unexplained(disagreement)]


@pytest.mark.parametrize("oracle", ORACLES)
def test_all_seeds_and_the_rows_of_the_strictness_page(oracle: str) -> None:
    assert len(STRICTNESS_ROWS) > 100
    for data in STREAMS + STRICTNESS_ROWS:
        for stream in (data, data + NEXT):
            assert not unexplained_in(stream, oracle)


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("oracle", ORACLES)
def test_mutated_seeds(oracle: str, batch: int) -> None:
    agreed = 0
    for data in mutated(CORPUS, EXAMPLES, batch):
        disagreements = list(compare(data, oracle))
        assert not [str(disagreement) for disagreement in disagreements if unexplained(disagreement)]
        agreed += not disagreements
    assert EXAMPLES / 2 < agreed < EXAMPLES


@pytest.mark.parametrize(
    ("explanation", "oracle"),
    [(explanation, oracle) for explanation in EXPLANATIONS for oracle in explanation.oracles],
    ids=lambda value: value.name if isinstance(value, Explanation) else value,
)
def test_each_explanation_is_needed(explanation: Explanation, oracle: str) -> None:
    (disagreement,) = compare(explanation.example, oracle)
    assert [other.name for other in EXPLANATIONS if other.covers(disagreement)] == [explanation.name]
    assert re.search(r"RFC 9\d{3} (section )?\d|--[a-z]|^As above|^Served as 1.1", explanation.why)


@pytest.mark.parametrize("oracle", ORACLES)
def test_valid_requests_are_read_alike(oracle: str) -> None:
    data = POST + b"Content-Length: 3\r\nX: a\r\nX: b\r\n\r\nabc" + NEXT + CHUNKS + b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n"
    reading = ORACLES[oracle](data)
    assert [(message.method, message.target, message.body, message.trailers) for message in reading.messages] == [
        ("POST", "/", b"abc", []), ("GET", "/next", b"", []), ("PUT", "/", b"abc", [("T", "u")]),
    ]  # fmt: skip
    assert reading.messages[-1].end == len(data)
    assert not list(compare(data, oracle))


# ---- the comparison finds faults ----

FEW_BYTES = b"\r\n"


class _LooseKeys(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return environ_key(name.strip())


def _uses_length(environ: dict[str, Any], *_: Any) -> int | None:
    return int(environ["CONTENT_LENGTH"]) if "CONTENT_LENGTH" in environ else None


@pytest.mark.parametrize(
    ("module", "name", "fault", "data", "kinds"),
    [
        (head, "body_length", _uses_length, CHUNKS[:-2] + b"Content-Length: 3\r\n\r\n0\r\n\r\n", "end refuses"),
        (head, "body_length", lambda *_: 0, POST + b"Content-Length: 3\r\n\r\nabc", "end end"),
        (head, "CONTROL_BYTES", FEW_BYTES, GET + b"X: a\0b\r\n\r\n", "refuses refuses"),
        (head, "ENVIRON_KEYS", _LooseKeys(), GET + b"X : b\r\n\r\n", "refuses refuses"),
        (head, "client_keeps_alive", lambda *_: True, GET + b"Connection: close\r\n\r\n", "keep_alive keep_alive"),
        (head, "client_keeps_alive", lambda *_: False, GET + b"Connection: x\r\n\r\n", "keep_alive keep_alive"),
        (body, "SIZE", re.compile(rb"(.{1,3})\r\n").match, CHUNKS + b"+3\r\nabc\r\n0\r\n\r\n", "refuses refuses"),
        (headreader, "EMPTY_LINES", -1, b"\r\n" + NEXT, "accepts"),
    ],
)  # fmt: skip
def test_the_comparison_finds_a_fault(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, fault: Any, data: bytes, kinds: str
) -> None:
    monkeypatch.setattr(module, name, fault)
    disagreements = [disagreement for oracle in ORACLES for disagreement in unexplained_in(data, oracle)]
    assert " ".join(disagreement.kind for disagreement in disagreements) == kinds
