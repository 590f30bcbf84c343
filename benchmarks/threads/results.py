"""What was measured: for each build, application and row one point a round, and medians of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.threads.rows import LIMIT, Row

__all__ = ["Build", "Memory", "Point", "Results"]


@dataclass(frozen=True, kw_only=True)
class Build:
    """One interpreter."""

    version: str
    """As ``3.14.2``."""
    gil: bool
    """Whether it has the GIL when it starts."""

    @property
    def name(self) -> str:
        """In headings, and with what distinguishes two builds of one version."""
        return f"CPython {self.version}, {'with' if self.gil else 'without'} the GIL"

    @property
    def slug(self) -> str:
        """In names of files."""
        return f"{self.version}-{'with' if self.gil else 'without'}-gil"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement. Latencies are milliseconds."""

    rate: float
    p50: float
    p99: float
    failures: int
    server: float
    """Processors that the server used, on average: 1.5 is one and a half."""
    load: float
    """And the load generator."""
    others: float
    """And all other programs of the machine, which should have been idle."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident KiB for each thread of one server."""

    server: str
    idle: float
    """As it starts: with many threads, less with one, divided by the difference."""
    used: float
    """After each thread has had a request."""


@dataclass(kw_only=True)
class Results:
    """The points of a run."""

    points: dict[tuple[Build, str, Row], list[Point]] = field(default_factory=dict)
    """By build, application and row."""
    memory: dict[Build, list[Memory]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """Sentences about what could not be measured, or was not as expected."""

    def add(self, build: Build, application: str, row: Row, point: Point) -> None:
        self.points.setdefault((build, application, row), []).append(point)

    def builds(self) -> list[Build]:
        return list(dict.fromkeys(build for build, _, _ in self.points))

    def applications(self, build: Build) -> list[str]:
        return list(dict.fromkeys(name for each, name, _ in self.points if each == build))

    def servers(self, build: Build, application: str) -> list[str]:
        """Without the limit, in the order of the run."""
        found = (row.server for each, name, row in self.points if (each, name) == (build, application))
        return [server for server in dict.fromkeys(found) if server != LIMIT]

    def threads(self, build: Build, application: str) -> list[int]:
        """The numbers of threads that one process had, in ascending order."""
        keys = self.points
        return sorted(
            {row.threads for each, name, row in keys if (each, name, row.processes) == (build, application, 1)}
        )

    def median(self, build: Build, application: str, row: Row, value: Callable[[Point], float]) -> float | None:
        """None: it was not measured."""
        points = self.points.get((build, application, row))
        return statistics.median(value(point) for point in points) if points else None

    def rate(self, build: Build, application: str, server: str, threads: int) -> float | None:
        """Requests a second of one process."""
        return self.median(build, application, Row(server=server, threads=threads), lambda point: point.rate)

    def several(self, build: Build, application: str, *, limit: bool = False) -> tuple[Row, float] | None:
        """The row with two processes, or that of the limit, and its requests a second."""
        for each, name, row in self.points:
            if (each, name) == (build, application) and row.processes > 1 and row.is_limit is limit:
                rate = self.median(build, application, row, lambda point: point.rate)
                return (row, rate) if rate is not None else None
        return None

    def others(self) -> tuple[float, float]:
        """Processors that other programs used meanwhile: the median of all points, and the highest."""
        found = [point.others for points in self.points.values() for point in points]
        return (statistics.median(found), max(found)) if found else (0.0, 0.0)

    def failures(self, servers: Iterable[str]) -> int:
        """Requests to these servers that failed."""
        wanted = set(servers)
        return sum(
            point.failures for (_, _, row), points in self.points.items() if row.server in wanted for point in points
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "points": [
                {
                    "build": asdict(build),
                    "application": name,
                    **asdict(row),
                    "rounds": [asdict(each) for each in points],
                }
                for (build, name, row), points in self.points.items()
            ],
            "memory": [
                {"build": asdict(build), **asdict(each)} for build, found in self.memory.items() for each in found
            ],
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Results:
        """The results that :meth:`as_json` wrote."""
        results = cls(notes=list(document["notes"]))
        for each in document["points"]:
            row = Row(server=each["server"], threads=each["threads"], processes=each["processes"])
            for point in each["rounds"]:
                results.add(Build(**each["build"]), each["application"], row, Point(**point))
        for each in document["memory"]:
            fields = {name: each[name] for name in ("server", "idle", "used")}
            results.memory.setdefault(Build(**each["build"]), []).append(Memory(**fields))
        return results
