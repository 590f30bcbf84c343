"""The pure parts of the adversity table and of the soak, and a crowd of bad clients against a plain listener."""

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
    cuts,
    detail_table,
    main_table,
    markdown,
    plain,
    promises,
)
from benchmarks.adversity_rows import ROWS
from benchmarks.badclients import BadClients, Script
from benchmarks.honest import Response
from benchmarks.soak import Look, growth, slope, steady

PLAN = Plan(count=20, cap=10.0, window=2.0, place=3.0, cut_wait=0.0, quiet=15.0)
OK = [Response(0.001, "200"), Response(0.002, "200"), Response(0.006, "200")]
LATE = [Response(10.0, "timeout")]


def test_the_options_of_a_help_text_are_the_ones_in_its_left_column():
    text = "  -b, --bind ADDR   Listen here; see --other.\n  --queue-timeout TIME\n      like --neither\nuse --nothing"

    assert servers.flags_in(text) == {"--bind", "--queue-timeout"}


def test_options_stand_in_front_of_an_application_that_comes_last():
    words = servers.command("waitress", "m:app", 2, 8000, ["--channel-timeout=600"])

    assert words == [
        sys.executable, "-m", "waitress", "--listen=127.0.0.1:8000", "--threads=2", "--channel-timeout=600", "m:app",
    ]  # fmt: skip


@pytest.mark.parametrize("name", servers.SERVERS)
def test_every_server_is_told_the_port_the_threads_the_application_and_the_options(name):
    words = " ".join(servers.command(name, "m:app", 7, 8123, ["--option", "9"]))

    assert "8123" in words
    assert "7" in words
    assert "m:app" in words
    assert "--option 9" in words


def test_options_that_reserve_does_not_have_are_named(monkeypatch):
    monkeypatch.setattr(servers, "reserve_flags", lambda: frozenset({"--keep-alive"}))

    assert servers.missing("reserve", ["--keep-alive", "600", "--no-such", "1"]) == ["--no-such"]
    assert servers.missing("cheroot", ["--no-such"]) == []


def test_proc_status_and_stat():
    assert procfs.status_fields("Name:\tpython 3\nVmRSS:\t  2048 kB\nThreads:\t7\n") == {"VmRSS": 2048, "Threads": 7}
    fields = ["S", *["0"] * 10, "30", "12", *["0"] * 5]
    assert procfs.cpu_seconds("4 (a ) b) " + " ".join(fields)) == 42 / procfs._TICKS


def test_the_states_of_a_port_are_counted():
    lines = ["  sl  local_address rem_address   st"]
    for local, remote, state in [("1F90", "9000", "01"), ("1F90", "9001", "01"), ("1F90", "9002", "04"),
                                 ("9000", "1F90", "01"), ("1F90", "0000", "0A")]:  # fmt: skip
        lines.append(f"   0: 0100007F:{local} 0100007F:{remote} {state} 00000000:00000000")

    assert procfs.states_in("\n".join(lines), 0x1F90) == {"ESTABLISHED": 2, "FIN_WAIT1": 1, "0A": 1}


def test_this_process_has_memory_and_descriptors():
    usage = procfs.usage(os.getpid())

    assert usage.peak_kib >= usage.rss_kib > 0
    assert usage.threads >= 1
    assert usage.descriptors >= 1


@pytest.mark.parametrize(
    ("received", "whole"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nab", True),
        (b"HTTP/1.1 200 OK\r\n\r\nab", None),
    ],
)
def test_a_whole_answer_is_recognised(received, whole):
    assert honest.complete(received) is whole


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 1\r\n\r\nx", "503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "cut short"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "200"),
        (b"", "cut short"),
    ],
)
def test_the_honest_client_says_how_it_went(answer, outcome):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = honest.request()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                assert sock.recv(len(sent), socket.MSG_WAITALL) == sent
                sock.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert honest.ask(listener.getsockname(), sent, 60.0).outcome == outcome
        server.join()


def test_a_batch_ends_when_too_many_timed_out(monkeypatch):
    answers = iter([*OK, *LATE, *OK])
    monkeypatch.setattr(honest, "ask", lambda *_: next(answers))

    assert honest.batch(("127.0.0.1", 1), b"", count=20, cap=1.0) == [*OK, *LATE]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(row="r", server="s", note="not offered: --x"), "not offered: --x"),
        (Cell(row="r", server="s"), "nothing asked"),
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
def test_a_cell_in_brief(cell, text):
    assert brief(cell) == text


@pytest.mark.parametrize(
    ("row", "answers", "words"),
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
        ("busy-others", [Response(0.1, "503")], ["an answer before 1900 ms"]),
        ("no-descriptors", LATE, []),
    ],
)
def test_what_reserve_promises_for_the_honest_client(row, answers, words):
    assert broken(ROWS[row], Cell(row=row, server="reserve", at_once=answers)) == words


@pytest.mark.parametrize(
    ("row", "numbers", "words"),
    [
        ("no-descriptors", {"cpu_percent": 99.0}, ["99 CPU %, more than 5"]),
        ("no-descriptors", {"log_lines": 2}, ["2 log lines, more than 1"]),
        ("no-descriptors", {"recovery": Response(1.5, "200")}, ["1500 ms until it had recovered, more than 1000"]),
        ("idle", {"still_there": 2, "rss_held": 14}, ["7168 octets for each client, more than 6144"]),
        ("unread-list", {"rss_peak": 1 << 20}, ["1024 MiB at the peak, more than 320"]),
        ("silent", {"descriptors_before": 7, "descriptors_after": 9}, ["9 descriptors afterwards, more than 7"]),
        ("silent", {"recovery": Response(0.1, "timeout")}, ["timeout after the bad clients had gone"]),
        ("busy-health", {"descriptors_before": 7, "descriptors_after": 9}, []),
    ],
)
def test_what_reserve_promises_beside_that(row, numbers, words):
    assert broken(ROWS[row], Cell(row=row, server="reserve", held=OK, **numbers)) == words


def test_an_application_sleeps_until_all_that_wait_for_their_refusal_have_been_refused():
    row = ROWS["busy-others"]
    assert b"/sleep/30 " in row.script.first

    assert row.requests is not None
    assert row.settle + 2 * row.requests * row.gate_ms / 1000 + 2.0 < 30.0


def test_nothing_is_broken_where_nothing_was_measured_and_the_peers_promise_nothing():
    row = ROWS["silent"]

    assert broken(row, Cell(row="silent", server="reserve", note="not offered: --x", at_once=LATE)) == []
    assert promises([(row, Cell(row="silent", server="cheroot", at_once=LATE))]) == []
    assert promises([(row, Cell(row="silent", server="reserve", held=[Response(0.001, "500")]))]) == [
        "silent: 500 instead of 200"
    ]


def test_when_the_bad_clients_were_cut():
    assert cuts(Cell(row="r", server="s")) == "none"
    unseen = Cell(row="r", server="s", unseen_cut=31.2, orphans=200)
    assert cuts(unseen) == "closed unseen (31.2 s), 200 left in the kernel"
    assert cuts(Cell(row="r", server="s", cut=3, first_cut=9.96, last_cut=10.04)) == "3 (10.0-10.0 s)"


def test_the_table_has_a_line_for_each_row_and_marks_broken_promises_of_reserve_only():
    cells = [
        Cell(row="silent", server="reserve", cap=10.0, at_once=LATE),
        Cell(row="silent", server="cheroot", cap=10.0, at_once=LATE),
        Cell(row="half-head", server="reserve", at_once=OK),
    ]

    assert main_table([ROWS["silent"], ROWS["half-head"]], ["reserve", "cheroot"], cells) == [
        ["bad clients", "reserve", "cheroot"],
        ["connect and say nothing", "! > 10 s", "> 10 s"],
        ["half a head", "2.0 / 6.0", ""],
    ]


def test_details_leave_out_what_was_not_measured():
    table = detail_table([Cell(row="r", server="s", note="did not start"), Cell(row="r", server="t", at_once=OK)])

    assert [line[1] for line in table] == ["server", "t"]
    assert len({len(line) for line in table}) == 1


def test_tables_as_text_and_as_markdown():
    table = [["a", "bb"], ["ccc", "d|e"]]

    assert plain(table) == "a    bb\nccc  d|e"
    assert markdown(table) == "| a | bb |\n| --- | --- |\n| ccc | d\\|e |"


def test_a_cell_as_json():
    found = json.loads(json.dumps(as_json(ROWS["silent"], Cell(row="silent", server="reserve", at_once=OK))))

    assert found["broken"] == []
    assert found["milliseconds"] == [2.0, 6.0]
    assert found["at_once"][0] == {"seconds": 0.001, "outcome": "200"}


def test_the_estimate_grows_with_servers_and_rows():
    one = estimate([ROWS["silent"]], 1, PLAN)

    assert one[0] < one[1]
    assert estimate([ROWS["silent"]], 3, PLAN) == (3 * one[0], 3 * one[1])
    assert estimate([ROWS["silent"], ROWS["idle"]], 1, PLAN) > one


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_rows_are_about_servers_that_exist_and_their_bad_clients_stay_bad(row):
    assert set(row.options) | set(row.asks_instead) <= set(servers.SERVERS)
    assert row.asks.endswith((b"\r\n\r\n", b"x"))
    if row.script.drip:
        assert row.script.every > 0
    if row.script.awaits:
        assert row.script.reads


@pytest.mark.parametrize("words", [["--servers", "nginx"], ["--rows", "silent,loud"]])
def test_an_unknown_name_ends_with_the_known_ones(words):
    with pytest.raises(SystemExit, match=f"knows no '{words[1].split(',')[-1]}'; it knows"):
        main(words)


def test_a_crowd_notes_who_is_in_place_what_was_answered_and_who_was_cut():
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
            held = crowd.picture()
            for sock in accepted:
                sock.close()
            assert crowd.wait_all_cut(60)
        finally:
            crowd.close()
    assert (held.connected, held.in_place, held.still_there, held.cuts) == (3, 3, 3, ())
    assert held.statuses == {"100": 3}
    after = crowd.picture()
    assert (after.connected, after.still_there, len(after.cuts)) == (3, 0, 3)


def test_a_crowd_that_never_reads_sees_a_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        crowd = BadClients(listener.getsockname(), 1, Script(reads=False))
        crowd.start()
        try:
            sock, _ = listener.accept()
            assert crowd.wait_in_place(60)
            sock.sendall(b"never read")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            assert crowd.wait_all_cut(60)
        finally:
            crowd.close()
    assert crowd.picture().still_there == 0


def _looks(*objects: int) -> list[Look]:
    return [Look((1 + number) * 1000, 5, 3, count, 20_000) for number, count in enumerate(objects)]


def test_the_slope_is_what_is_added_for_each_thousand():
    assert slope(_looks(10, 13, 16, 19), "objects") == pytest.approx(3)
    assert growth(_looks(10, 13, 16, 19), "objects") == pytest.approx(9)
    assert slope(_looks(10, 10, 10), "objects") == 0
    assert slope(_looks(10), "objects") == 0
    assert growth([], "objects") == 0


def test_the_first_third_is_warming_up():
    looks = _looks(1, 90, 100, 100, 100, 100)

    assert steady(looks) == looks[2:]
    assert growth(steady(looks), "objects") == 0
