"""Measure what an honest client gets while a server holds bad clients: reserve and other servers, from outside.

``python -m benchmarks.adversity [--servers reserve,cheroot] [--rows silent,half-head] [--cut-wait 45] [--json FILE]``

``adversity_rows.py`` defines the bad clients, ``adversity_measure.py`` measures with them. Everything runs on
127.0.0.1, one server at a time. Linux only. Exit code 0: measured; 1: measured, and reserve broke a promise.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.adversity_measure import Plan, estimate, measure
from benchmarks.adversity_report import Cell, as_json, brief, detail_table, main_table, markdown, plain, promises
from benchmarks.adversity_rows import ROWS, Row
from benchmarks.servers import SERVERS, chosen, raise_descriptors, version_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parsed(arguments)
    servers = chosen("--servers", options.servers, SERVERS)
    names = chosen("--rows", options.rows, ROWS)
    rows = [replace(ROWS[name], count=options.idle) if name == "idle" else ROWS[name] for name in names]
    plan = Plan(
        count=options.requests,
        cap=options.cap,
        window=options.window,
        place=options.place,
        cut_wait=options.cut_wait,
        quiet=options.quiet,
    )
    raise_descriptors()
    low, high = estimate(rows, len(servers), plan)
    print(f"{len(rows)} rows, {len(servers)} servers: {low:.0f} to {high:.0f} s", file=sys.stderr)
    cells: list[tuple[Row, Cell]] = []
    for row in rows:
        for server in servers:
            cell = measure(server, row, plan)
            cells.append((row, cell))
            print(f"{row.name:18} {server:9} {brief(cell)}", file=sys.stderr, flush=True)
    _write(options, rows, servers, cells)
    broken = promises(cells)
    if broken:
        print("\nbroken promises of reserve\n" + "\n".join(broken))
    return 1 if broken else 0


def _write(
    options: argparse.Namespace, rows: Sequence[Row], servers: Sequence[str], cells: Sequence[tuple[Row, Cell]]
) -> None:
    results = [cell for _, cell in cells]
    versions = {"python": platform.python_version(), **{name: version_of(name) for name in servers}}
    print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
    tables = [main_table(rows, servers, results), detail_table(results)]
    print("median / worst time of the honest requests in ms; ! marks a broken promise of reserve\n")
    print("\n\n".join(plain(table) for table in tables))
    if options.json:
        document = {"versions": versions, "cells": [as_json(row, cell) for row, cell in cells]}
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if options.markdown:
        Path(options.markdown).write_text("\n\n".join(markdown(table) for table in tables) + "\n", "utf-8")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adversity", description=__doc__.partition("\n")[0])
    parser.add_argument("--servers", default="", help=f"by default all: {','.join(SERVERS)}")
    parser.add_argument("--rows", default="", help=f"by default all: {','.join(ROWS)}")
    parser.add_argument("--cap", type=float, default=10.0, help="seconds that an honest request may take [10]")
    parser.add_argument("--requests", type=int, default=20, help="honest requests in each of the two batches [20]")
    parser.add_argument("--window", type=float, default=2.0, help="seconds without honest requests [2]")
    parser.add_argument("--place", type=float, default=3.0, help="seconds to wait until the bad clients are ready [3]")
    parser.add_argument(
        "--cut-wait", type=float, default=0.0, help="seconds to wait until the server has closed their connections [0]"
    )
    parser.add_argument("--quiet", type=float, default=15.0, help="seconds for the work of the unread responses [15]")
    parser.add_argument("--idle", type=int, default=1000, help="connections in the row idle [1000]")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
