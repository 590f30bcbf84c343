"""How numbers and texts of clients are written on the status page."""

from __future__ import annotations

import pytest

from reserve.control.page.figures import NONE, bytes_text, count_text, seconds_text, share_of, span_text, visible


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999"), (1234567, "1\u202f234\u202f567"), (-1, NONE)])
def test_counts(count: int, text: str) -> None:
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1048575, "1.0 MiB"), (268435456, "256 MiB"),
     (5 << 40, "5.0 TiB"), (5 << 50, "5120 TiB"), (-1, NONE)],
)  # fmt: skip
def test_sizes(size: int, text: str) -> None:
    assert bytes_text(size).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 ms"), (0.0008, "0.8 ms"), (0.0249, "25 ms"), (0.9994, "999 ms"), (0.9999, "1.0 s"), (59.9, "59.9 s"),
     (60.0, "1 min 0 s"), (125.9, "2 min 5 s"), (7325.0, "2 h 2 min")],
)  # fmt: skip
def test_times_of_requests(seconds: float, text: str) -> None:
    assert seconds_text(seconds).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1.0, "0 s"), (12.9, "12 s"), (3600.0, "1 h 0 min"), (273_700.0, "3 d 4 h")]
)
def test_times_since_a_start(seconds: float, text: str) -> None:
    assert span_text(seconds).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("used", "limit", "share"), [(5, 10, 0.5), (20, 10, 1.0), (5, 0, None), (5, -1, None), (-1, 10, None)]
)
def test_shares_of_limits(used: float, limit: float, share: float | None) -> None:
    assert share_of(used, limit) == share


def test_texts_of_clients_are_cut_and_cannot_move_the_text_around_them() -> None:
    assert visible("GET /\u202egnp.exe\n\x1b[31m") == "GET /\ufffdgnp.exe\ufffd\ufffd[31m"
    assert visible("a" * 201) == "a" * 200 + "\u2026"
    assert visible("a" * 200) == "a" * 200
