"""What was measured: one sample for each round, and their medians and spread."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.compare.generator import Load, Percentiles

__all__ = ["Cell", "Results", "Sample", "Spread", "spread"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement of one server."""

    load: Load
    user: float
    """Seconds of the server's processor time in user space."""
    system: float
    """And in the kernel."""
    memory: int
    """KiB of resident memory of all processes of the server, at the end of the measurement."""
    peak: int
    """KiB, the highest so far."""
    before: int
    """KiB, before the load."""
    transferred: int = 0
    """Bytes of the content of each request or response, where the workload is a transfer."""

    def cpu(self, seconds: float) -> float:
        """Microseconds a request of this processor time."""
        return 1e6 * seconds / max(self.load.requests, 1)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several values as one."""

    median: float
    lowest: float
    highest: float


def spread(values: Iterable[float]) -> Spread | None:
    """The median, the lowest and the highest value; None when there is no value."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Spread(median=statistics.median(ordered), lowest=ordered[0], highest=ordered[-1])


@dataclass(kw_only=True)
class Cell:
    """One server in one workload."""

    workload: str
    placement: str
    server: str
    samples: list[Sample] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    """The last command of the server, with the names of programs and files, and not their folders."""
    note: str = ""
    """Why it could not be measured, or not in each round."""

    def spread(self, value: Callable[[Sample], float | None]) -> Spread | None:
        """Median, lowest and highest of something over the rounds."""
        values = (value(sample) for sample in self.samples)
        return spread(value for value in values if value is not None)

    def median(self, value: Callable[[Sample], float | None]) -> float | None:
        found = self.spread(value)
        return found.median if found else None

    def total(self, value: Callable[[Sample], int]) -> int:
        return sum(value(sample) for sample in self.samples)


class Results:
    """The cells of a run, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, str, str], Cell] = {}

    def cell(self, workload: str, placement: str, server: str) -> Cell:
        """The cell, which is made when there is none."""
        key = (workload, placement, server)
        if key not in self._cells:
            self._cells[key] = Cell(workload=workload, placement=placement, server=server)
        return self._cells[key]

    def find(self, workload: str, server: str, placement: str = "pinned") -> Cell | None:
        """The cell, if something was measured for it."""
        cell = self._cells.get((workload, placement, server))
        return cell if cell and cell.samples else None

    def row(self, workload: str, placement: str) -> Sequence[Cell]:
        return [cell for cell in self._cells.values() if (cell.workload, cell.placement) == (workload, placement)]

    def rows(self) -> list[tuple[str, str]]:
        """The workloads and placements that were measured."""
        return list(dict.fromkeys((cell.workload, cell.placement) for cell in self._cells.values()))

    def keep(self, cells: Iterable[dict[str, Any]], order: Sequence[str]) -> list[str]:
        """Take over the rows of an earlier run that were not measured in this one, and return their workloads.

        :param cells: what :meth:`as_json` has returned then.
        :param order: the names of all workloads, in the order of the report.
        """
        measured = self.rows()
        kept = [cell for cell in cells if (cell["workload"], cell["placement"]) not in measured]
        for cell in kept:
            samples = [Sample(**{**sample, "load": _load(sample["load"])}) for sample in cell["samples"]]
            self._cells[cell["workload"], cell["placement"], cell["server"]] = Cell(**{**cell, "samples": samples})
        self._cells = dict(sorted(self._cells.items(), key=lambda item: order.index(item[0][0])))
        return list(dict.fromkeys(cell["workload"] for cell in kept))

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(cell) for cell in self._cells.values()]


def _load(values: dict[str, Any]) -> Load:
    """What the generator saw, from the fields in a report."""
    both = {name: Percentiles(**values[name]) for name in ("latency", "first")}
    return Load(**{**values, **both})
