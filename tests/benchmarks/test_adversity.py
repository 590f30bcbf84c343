"""The parts of the adversity table and of the soak that need no server; crowds of bad clients with a plain listener."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading

import pytest

from benchmarks import honest, procfs, servers
from benchmarks.adversity import main
from benchmarks.adversity_measure import Plan, estimate
from benchmarks.adversity_report import (
    Cell,
    as_json,
    brief,
    broken,
    closed,
    detail_table,
    main_table,
    markdown,
    plain,
    promises,
)
from benchmarks.adversity_rows import ROWS
from benchmarks.badclients import BadClients, Script
from benchmarks.honest import Response
from benchmarks.soak import Checkpoint, growth, slope, steady

PLAN = Plan(count=20, cap=10.0, window=2.0, place=3.0, cut_wait=0.0, quiet=15.0)
OK = [Response(0.001, "200"), Response(0.002, "200"), Response(0.006, "200")]
LATE = [Response(10.0, "timeout")]


def test_flags_in_finds_the_options_in_the_left_column_of_a_help_text():
    text = "  -b, --bind ADDR   Listen here; see --other.\n  --queue-timeout TIME\n      like --neither\nuse --nothing"

    assert servers.flags_in(text) == {"--bind", "--queue-timeout"}


def test_options_stand_before_an_application_that_is_the_last_argument():
    command = servers.command("waitress", "m:app", 2, 8000, ["--channel-timeout=600"])

    assert command == [
        sys.executable, "-m", "waitress", "--listen=127.0.0.1:8000", "--threads=2", "--channel-timeout=600", "m:app",
    ]  # fmt: skip


@pytest.mark.parametrize("name", servers.SERVERS)
def test_every_command_has_the_port_the_threads_the_application_and_the_options(name):
    command = " ".join(servers.command(name, "m:app", 7, 8123, ["--option", "9"]))

    assert "8123" in command
    assert "7" in command
    assert "m:app" in command
    assert "--option 9" in command


def test_missing_names_the_options_that_reserve_does_not_have(monkeypatch):
    monkeypatch.setattr(servers, "reserve_flags", lambda: frozenset({"--keep-alive"}))

    assert servers.missing("reserve", ["--keep-alive", "600", "--no-such", "1"]) == ["--no-such"]
    assert servers.missing("cheroot", ["--no-such"]) == []


def test_procfs_reads_status_and_stat():
    assert procfs.status_fields("Name:\tpython 3\nVmRSS:\t  2048 kB\nThreads:\t7\n") == {"VmRSS": 2048, "Threads": 7}
    fields = ["S", *["0"] * 10, "30", "12", *["0"] * 5]
    assert procfs.cpu_seconds("4 (a ) b) " + " ".join(fields)) == 42 / procfs._TICKS


def test_states_in_counts_the_connections_of_one_port():
    lines = ["  sl  local_address rem_address   st"]
    for local, remote, state in [("1F90", "9000", "01"), ("1F90", "9001", "01"), ("1F90", "9002", "04"),
                                 ("9000", "1F90", "01"), ("1F90", "0000", "0A")]:  # fmt: skip
        lines.append(f"   0: 0100007F:{local} 0100007F:{remote} {state} 00000000:00000000")

    assert procfs.states_in("\n".join(lines), 0x1F90) == {"ESTABLISHED": 2, "FIN_WAIT1": 1, "0A": 1}


def test_usage_has_the_memory_threads_and_descriptors_of_this_process():
    usage = procfs.usage(os.getpid())

    assert usage.peak_kib >= usage.rss_kib > 0
    assert usage.threads >= 1
    assert usage.descriptors >= 1


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\n\r\nab", None),
    ],
)
def test_complete_recognises_a_whole_response(received, expected):
    assert honest.complete(received) is expected


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx", "503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "truncated"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "200"),
        (b"", "truncated"),
    ],
)
def test_the_honest_client_reports_the_outcome(response, outcome):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = honest.request()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                assert sock.recv(len(sent), socket.MSG_WAITALL) == sent
                sock.sendall(response)

        server = threading.Thread(target=serve)
        server.start()
        assert honest.ask(listener.getsockname(), sent, 60.0).outcome == outcome
        server.join()


def test_a_batch_ends_when_too_many_requests_timed_out(monkeypatch):
    responses = iter([*OK, *LATE, *OK])
    monkeypatch.setattr(honest, "ask", lambda *_: next(responses))

    assert honest.batch(("127.0.0.1", 1), b"", count=20, cap=1.0) == [*OK, *LATE]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(row="r", server="s", note="not offered: --x"), "not offered: --x"),
        (Cell(row="r", server="s"), "no request sent"),
        (Cell(row="r", server="s", at_once=OK), "2.0 / 6.0"),
        (Cell(row="r", server="s", cap=10.0, at_once=LATE), "> 10 s"),
        (Cell(row="r", server="s", cap=10.0, at_once=[*OK, *LATE]), "timeout: 4.0 / 10000.0"),
        (Cell(row="r", server="s", at_once=[Response(0.001, "503")]), "503: 1.0 / 1.0"),
        (
            Cell(row="r", server="s", cap=10.0, at_once=LATE, quiet_after=7.2, held=OK),
            "at first > 10 s; 7 s later 2.0 / 6.0",
        ),
        (Cell(row="r", server="s", at_once=OK, quiet_after=0.5, held=OK), "at first 2.0 / 6.0; 0 s later 2.0 / 6.0"),
    ],
)
def test_brief_gives_the_text_of_a_cell(cell, text):
    assert brief(cell) == text


@pytest.mark.parametrize(
    ("row", "responses", "expected"),
    [
        ("silent", OK, []),
        ("silent", [*OK, Response(0.051, "200")], ["worst 51.0 ms, more than 50"]),
        ("silent", [Response(0.001, "503")], ["503 instead of 200"]),
        ("silent", LATE, ["timeout instead of 200", "worst 10000.0 ms, more than 50"]),
        ("silent", [], []),
        ("reset-flood", [Response(0.19, "200")], []),
        ("queue-full", [Response(0.001, "503")], []),
        ("queue-full", OK, ["200 instead of 503"]),
        ("memory-full", [Response(0.001, "507"), Response(0.001, "503")], []),
        ("busy-others", [Response(2.1, "503")], []),
        ("busy-others", [Response(0.1, "503")], ["a response before 1900 ms"]),
        ("no-descriptors", LATE, []),
    ],
)
def test_broken_compares_the_honest_responses_with_the_promises(row, responses, expected):
    assert broken(ROWS[row], Cell(row=row, server="reserve", at_once=responses)) == expected


@pytest.mark.parametrize(
    ("row", "numbers", "expected"),
    [
        ("no-descriptors", {"cpu_percent": 99.0}, ["99 CPU %, more than 5"]),
        ("no-descriptors", {"log_lines": 2}, ["2 log lines, more than 1"]),
        ("no-descriptors", {"recovery": Response(1.5, "200")}, ["1500 ms until it had recovered, more than 1000"]),
        ("idle", {"still_there": 2, "rss_held": 14}, ["7168 bytes for each client, more than 6144"]),
        ("unread-list", {"rss_peak": 1 << 20}, ["1024 MiB at the peak, more than 320"]),
        ("silent", {"descriptors_before": 7, "descriptors_after": 9}, ["9 descriptors afterwards, more than 7"]),
        ("silent", {"recovery": Response(0.1, "timeout")}, ["timeout after the bad clients had closed"]),
        ("busy-health", {"descriptors_before": 7, "descriptors_after": 9}, []),
    ],
)
def test_broken_compares_the_other_numbers_with_the_promises(row, numbers, expected):
    assert broken(ROWS[row], Cell(row=row, server="reserve", held=OK, **numbers)) == expected


def test_the_application_sleeps_until_every_waiting_request_has_been_refused():
    row = ROWS["busy-others"]
    assert b"/sleep/30 " in row.script.first

    assert row.requests is not None
    assert row.settle + 2 * row.requests * row.max_ms / 1000 + 2.0 < 30.0


def test_broken_is_empty_without_results_and_only_reserve_has_promises():
    row = ROWS["silent"]

    assert broken(row, Cell(row="silent", server="reserve", note="not offered: --x", at_once=LATE)) == []
    assert promises([(row, Cell(row="silent", server="cheroot", at_once=LATE))]) == []
    assert promises([(row, Cell(row="silent", server="reserve", held=[Response(0.001, "500")]))]) == [
        "silent: 500 instead of 200"
    ]


def test_closed_says_how_many_bad_clients_the_server_closed_and_when():
    assert closed(Cell(row="r", server="s")) == "none"
    unseen = Cell(row="r", server="s", unseen_cut=31.2, orphans=200)
    assert closed(unseen) == "closed unseen (31.2 s), 200 left in the kernel"
    assert closed(Cell(row="r", server="s", cut=3, first_cut=9.96, last_cut=10.04)) == "3 (10.0-10.0 s)"


def test_the_table_has_a_line_for_each_row_and_marks_broken_promises_of_reserve_only():
    cells = [
        Cell(row="silent", server="reserve", cap=10.0, at_once=LATE),
        Cell(row="silent", server="cheroot", cap=10.0, at_once=LATE),
        Cell(row="half-head", server="reserve", at_once=OK),
    ]

    assert main_table([ROWS["silent"], ROWS["half-head"]], ["reserve", "cheroot"], cells) == [
        ["bad clients", "reserve", "cheroot"],
        ["connect and send nothing", "! > 10 s", "> 10 s"],
        ["half a head", "2.0 / 6.0", ""],
    ]


def test_the_detail_table_leaves_out_cells_without_results():
    table = detail_table([Cell(row="r", server="s", note="did not start"), Cell(row="r", server="t", at_once=OK)])

    assert [line[1] for line in table] == ["server", "t"]
    assert len({len(line) for line in table}) == 1


def test_a_table_is_written_as_text_and_as_markdown():
    table = [["a", "bb"], ["ccc", "d|e"]]

    assert plain(table) == "a    bb\nccc  d|e"
    assert markdown(table) == "| a | bb |\n| --- | --- |\n| ccc | d\\|e |"


def test_a_cell_is_written_as_json():
    document = json.loads(json.dumps(as_json(ROWS["silent"], Cell(row="silent", server="reserve", at_once=OK))))

    assert document["broken"] == []
    assert document["milliseconds"] == [2.0, 6.0]
    assert document["at_once"][0] == {"seconds": 0.001, "outcome": "200"}


def test_the_estimate_grows_with_servers_and_rows():
    one = estimate([ROWS["silent"]], 1, PLAN)

    assert one[0] < one[1]
    assert estimate([ROWS["silent"]], 3, PLAN) == (3 * one[0], 3 * one[1])
    assert estimate([ROWS["silent"], ROWS["idle"]], 1, PLAN) > one


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_row_names_servers_that_exist_and_has_a_valid_script(row):
    assert set(row.options) | set(row.request_for) <= set(servers.SERVERS)
    assert row.request.endswith((b"\r\n\r\n", b"x"))
    if row.script.drip:
        assert row.script.every > 0
    if row.script.awaits:
        assert row.script.reads


@pytest.mark.parametrize("arguments", [["--servers", "nginx"], ["--rows", "silent,loud"]])
def test_the_error_for_an_unknown_name_lists_the_known_names(arguments):
    with pytest.raises(SystemExit, match=f"knows no '{arguments[1].split(',')[-1]}'; it knows"):
        main(arguments)


def test_a_crowd_counts_clients_in_place_statuses_and_closed_connections():
    script = Script(first=b"half", awaits=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        crowd = BadClients(listener.getsockname(), 3, script)
        crowd.start()
        try:
            accepted = [listener.accept()[0] for _ in range(3)]
            for sock in accepted:
                assert sock.recv(4, socket.MSG_WAITALL) == b"half"
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert crowd.wait_in_place(60)
            held = crowd.snapshot()
            for sock in accepted:
                sock.close()
            assert crowd.wait_all_closed(60)
        finally:
            crowd.close()
    assert (held.connected, held.in_place, held.still_there, held.closed_after) == (3, 3, 3, ())
    assert held.statuses == {"100": 3}
    after = crowd.snapshot()
    assert (after.connected, after.still_there, len(after.closed_after)) == (3, 0, 3)


def test_a_crowd_that_never_reads_notices_a_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        crowd = BadClients(listener.getsockname(), 1, Script(reads=False))
        crowd.start()
        try:
            sock, _ = listener.accept()
            assert crowd.wait_in_place(60)
            sock.sendall(b"never read")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            assert crowd.wait_all_closed(60)
        finally:
            crowd.close()
    assert crowd.snapshot().still_there == 0


def _checkpoints(*objects: int) -> list[Checkpoint]:
    return [Checkpoint((1 + number) * 1000, 5, 3, count, 20_000) for number, count in enumerate(objects)]


def test_slope_and_growth_are_those_of_a_straight_line():
    assert slope(_checkpoints(10, 13, 16, 19), "objects") == pytest.approx(3)
    assert growth(_checkpoints(10, 13, 16, 19), "objects") == pytest.approx(9)
    assert slope(_checkpoints(10, 10, 10), "objects") == 0
    assert slope(_checkpoints(10), "objects") == 0
    assert growth([], "objects") == 0


def test_the_first_third_is_the_warm_up():
    checkpoints = _checkpoints(1, 90, 100, 100, 100, 100)

    assert steady(checkpoints) == checkpoints[2:]
    assert growth(steady(checkpoints), "objects") == 0
