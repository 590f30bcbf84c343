"""The text for Prometheus, read back by a parser of its format."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reserve.control.metrics.exposition import exposition
from reserve.control.metrics.families import FAMILIES, GAUGE, Family
from reserve.control.totals import Histogram, Listener, Totals

NAMES = {
    "reserve_info", "reserve_requests_total", "reserve_request_duration_seconds", "reserve_request_queue_seconds",
    "reserve_application_seconds", "reserve_request_bytes_total", "reserve_response_bytes_total", "reserve_threads",
    "reserve_threads_max", "reserve_requests_queued", "reserve_connections", "reserve_connections_max",
    "reserve_connections_accepted_total", "reserve_connections_reclaimed_total", "reserve_tls_handshakes_total",
    "reserve_lead_hand_overs_total", "reserve_lead_steals_total", "reserve_refusals_total",
    "reserve_request_timeouts_total", "reserve_listen_backlog", "reserve_listen_backlog_limit", "reserve_buffer_bytes",
    "reserve_buffer_limit_bytes", "reserve_spool_bytes", "reserve_spool_limit_bytes", "reserve_log_lines_dropped_total",
    "reserve_processes", "reserve_processes_wanted", "reserve_process_restarts_total", "reserve_resident_bytes",
    "reserve_uptime_seconds", "reserve_healthy",
}  # fmt: skip
COUNTS = st.integers(0, 10**15)
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
PAIR = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> tuple[dict[str, str], Samples]:
    """The kinds by name, and the values by name and labels."""
    assert text.endswith("\n") or not text
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    samples: Samples = {}
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            helped.add(line.split(" ")[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helped, "the help comes first"
            kinds[name] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            pairs = tuple((label, unescape(value)) for label, value in PAIR.findall(match[2] or ""))
            assert (match[1], pairs) not in samples, "once"
            assert match[1] in kinds or re.sub("_(bucket|sum|count)$", "", match[1]) in kinds
            samples[match[1], pairs] = float(match[3])
    return kinds, samples


def unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value)


def test_every_metric_of_the_design_is_there_with_help_and_type() -> None:
    kinds, _ = parse(exposition(Totals()))
    assert set(kinds) == NAMES
    assert {name for name, kind in kinds.items() if kind == "counter"} == {n for n in NAMES if n.endswith("_total")}
    assert list(kinds) == [family.name for family in FAMILIES]


@given(st.lists(st.tuples(st.text(max_size=8), st.text())))
def test_every_label_value_comes_back(values: list[tuple[str, str]]) -> None:
    labels = {value: number for number, (value, _) in enumerate(values)}
    family = Family(
        "a_metric", GAUGE, "with \\ and\na line end",
        lambda _: [((("label", value),), number) for value, number in labels.items()],
    )  # fmt: skip
    text = exposition(Totals(), [family])
    assert text.startswith("# HELP a_metric with \\\\ and\\na line end\n# TYPE a_metric gauge\n")
    _, samples = parse(text)
    assert samples == {("a_metric", (("label", value),)): number for value, number in labels.items()}


@given(st.lists(COUNTS, min_size=4, max_size=4), st.floats(0, 1e9))
def test_buckets_are_cumulative_and_end_with_the_count(counts: list[int], seconds: float) -> None:
    histogram = Histogram(bounds=(0.001, 0.5, 30.0), counts=tuple(counts), sum=seconds)
    _, samples = parse(exposition(Totals(application=histogram)))
    name = "reserve_application_seconds"
    found = [samples[f"{name}_bucket", (("le", bound),)] for bound in ("0.001", "0.5", "30.0", "+Inf")]
    assert found == [sum(counts[: number + 1]) for number in range(4)]
    assert (samples[f"{name}_count", ()], samples[f"{name}_sum", ()]) == (sum(counts), seconds)


@given(st.dictionaries(st.tuples(st.sampled_from(["GET", "POST", "other"]), st.integers(100, 999)), COUNTS))
def test_requests_are_by_method_and_status_in_a_stable_order(counts: dict[tuple[str, int], int]) -> None:
    responses = tuple((method, status, count) for (method, status), count in counts.items())
    text = exposition(Totals(responses=responses))
    _, samples = parse(text)
    for (method, status), count in counts.items():
        assert samples["reserve_requests_total", (("method", method), ("status", str(status)))] == count
    assert exposition(Totals(responses=responses[::-1])) == text


def test_each_value_is_at_its_place() -> None:
    numbers = {
        "threads": 20, "busy": 7, "waiting": 2, "upgraded": 3, "stuck": 4, "max_threads": 40, "waiting_requests": 5,
        "parked": 11, "flushing": 12, "lingering": 13, "owned": 14, "queued": 15, "max_connections": 1000,
        "accepted": 16, "reclaimed": 17, "tls_handshakes": 30, "tls_resumed": 10, "tls_failed": 6, "hand_overs": 18,
        "steals": 19, "refused": 21, "client_connections_refused": 22, "client_requests_refused": 23, "timed_out": 24,
        "buffered": 25, "buffer_limit": 26, "spooled": 27, "spool_limit": 28, "log_lines_dropped": 29, "rss": 31,
        "bytes_received": 32, "bytes_sent": 33, "wanted": 34,
    }  # fmt: skip
    totals = replace(
        Totals(**numbers),  # type: ignore[arg-type]
        healthy=True,
        uptime=1.5,
        software="reserve 9.8",
        python="CPython 3.13.1",
        states={"serving": 2, "retiring": 1},
        restarts={"crash": 1, "kill": 2},
        listeners=(
            Listener(address="[::1]:80", backlog=3, backlog_limit=128),
            Listener(address="unix:/a", backlog=-1, backlog_limit=-1),
        ),
    )
    _, samples = parse(exposition(totals))
    expected: Samples = {
        ("reserve_info", (("version", "9.8"), ("python", "CPython 3.13.1"))): 1,
        ("reserve_healthy", ()): 1,
        ("reserve_uptime_seconds", ()): 1.5,
        ("reserve_listen_backlog", (("address", "[::1]:80"),)): 3,
        ("reserve_listen_backlog_limit", (("address", "[::1]:80"),)): 128,
    }
    for name, label, values in (
        ("threads", "state", {"idle": 13, "busy": 5, "waiting": 2, "upgraded": 3, "stuck": 4}),
        ("connections", "state", {"parked": 11, "flushing": 12, "lingering": 13, "owned": 14, "queued": 15}),
        ("tls_handshakes_total", "result", {"full": 20, "resumed": 10, "failed": 6}),
        ("refusals_total", "reason", {"overload": 21, "client_connections": 22, "client_requests": 23}),
        ("processes", "state", {"serving": 2, "retiring": 1, "starting": 0, "stopping": 0, "unresponsive": 0}),
        ("process_restarts_total", "reason", {"crash": 1, "recycle": 0, "reload": 0, "kill": 2}),
    ):
        expected |= {(f"reserve_{name}", ((label, value),)): number for value, number in values.items()}
    for name, number in (
        ("threads_max", 40), ("requests_queued", 5), ("connections_max", 1000), ("connections_accepted_total", 16),
        ("connections_reclaimed_total", 17), ("lead_hand_overs_total", 18), ("lead_steals_total", 19),
        ("request_timeouts_total", 24), ("buffer_bytes", 25), ("buffer_limit_bytes", 26), ("spool_bytes", 27),
        ("spool_limit_bytes", 28), ("log_lines_dropped_total", 29), ("resident_bytes", 31),
        ("request_bytes_total", 32), ("response_bytes_total", 33), ("processes_wanted", 34),
    ):  # fmt: skip
        expected[f"reserve_{name}", ()] = number
    assert {key: value for key, value in samples.items() if "_seconds_" not in key[0]} == expected
