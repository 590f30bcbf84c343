"""The figures in ``reserve/docs/threads.md``: made from the results of a run, between two comments of the page."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.compare.report import About
from benchmarks.process import ROOT
from benchmarks.threads.advice import advise
from benchmarks.threads.report import advice_table, memory_table
from benchmarks.threads.results import Results

__all__ = ["PAGE", "filled"]

PAGE = ROOT / "reserve" / "docs" / "threads.md"
_BEGIN = "<!-- The figures: python -m benchmarks.threads writes them. -->\n"
_END = "<!-- The end of the figures. -->\n"
_RESULTS = "../../benchmarks/results/threads"


def filled(text: str, results: Results, about: About, charts: Mapping[str, str]) -> str:
    """The page with the figures of this run.

    :param text: the page as it is.
    :param charts: by title: the names of the files.
    :raises ValueError: the page has no place for figures.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no {_BEGIN.strip()} before a {_END.strip()}")
    parts = [
        advice_table(advise(results)),
        *(f"![{title}]({_RESULTS}/{name})" for title, name in charts.items()),
        "## Memory of a thread",
        "Resident memory that one more thread adds: as the server starts, and after each thread has had a request.",
        memory_table(results),
        f"Measured {about.date.partition(' ')[0]} on {about.machine}. [All figures]({_RESULTS}/report.md).",
    ]
    return before + begin + "\n" + "\n\n".join(parts) + "\n\n" + end + after
