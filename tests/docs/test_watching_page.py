"""The page about watching names metrics, fields and options; each exists, and each command is valid.

``tests/real/test_watching.py`` runs the commands.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import reserve
from reserve.cli.parser import check_arguments, parse_command_line
from reserve.control.document import RESTARTS
from reserve.engine.metrics.stats import ListenerStats, RequestStats, Stats
from reserve.options.sources import collect
from tests.docs.test_grafana import ALERTS, EXPOSED, FLAGS, RULES, check_names, promtool

DOCS = Path(reserve.__file__).parent / "docs"
TEXT = (DOCS / "watching.md").read_text("utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.MULTILINE | re.DOTALL)
SERVERS = re.findall(r"^(reserve --metrics-bind .*)$", TEXT, re.MULTILINE)
HEADINGS = re.findall(r"^##+ (.*)$", TEXT, re.MULTILINE)
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    for row in re.findall(r"^\| \[.*\|$", TEXT, re.MULTILINE)
]


def anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_each_trouble_has_a_row_and_a_section() -> None:
    sections = HEADINGS[HEADINGS.index("The troubles") + 1 :]
    assert [re.fullmatch(r"\[.*\]\(#([\w-]+)\)", row[0])[1] for row in ROWS] == list(map(anchor, sections))  # type: ignore[index]
    assert len(SERVERS) == len(sections) + 1


@pytest.mark.parametrize("name", sorted({name for name in quoted(PROSE) if re.match(r"reserve_\w", name)}))
def test_a_metric_in_the_text_exists(name: str) -> None:
    check_names(name.replace("127.0.0.1:8080", "127.0.0.1:80"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_names_in_a_row_exist(row: list[str]) -> None:
    _, metrics, status, _, log = row
    for name in quoted(metrics):
        full = f"reserve_{name}"
        check_names(full if full in EXPOSED or "{" in full else f"{full}_count")
    fields = {field.name for kind in (Stats, RequestStats, ListenerStats) for field in dataclasses.fields(kind)}
    assert set(quoted(status)) <= fields | {"restarts", "responding"}
    assert set(quoted(log)) <= {"queue", "app", "status", "write"}


@pytest.mark.parametrize("line", SERVERS)
def test_the_command_of_a_server_is_valid(line: str) -> None:
    words = shlex.split(line.partition(" | ")[0])
    command = parse_command_line(words[1:])
    check_arguments(command)
    collect(command.given, {}, "/nonexistent")


def test_the_options_exist_and_links_lead_somewhere() -> None:
    in_commands = {"--control", "--once", "--json"}
    assert set(re.findall(r"--[a-z][\w-]+", PROSE)) <= FLAGS | in_commands
    for page, place in re.findall(r"\]\(([\w.-]*)(?:#([\w-]+))?\)", TEXT):
        text = (DOCS / page).read_text("utf-8") if page else TEXT
        headings = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
        assert not place or place in {re.sub(r"[^\w-]", "", anchor(heading)) for heading in headings}


@pytest.mark.peer
def test_prometheus_accepts_the_configuration(tmp_path: Path, require_peer: Callable[[str], str]) -> None:
    (configuration,) = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(configuration)
    shutil.copy(RULES, tmp_path)
    promtool(require_peer("promtool"), "check", "config", "prometheus.yml", cwd=tmp_path)


def test_the_reasons_of_restarts_are_on_the_page() -> None:
    section = TEXT.partition("### Processes end\n")[2].partition("\n### ")[0]
    for reason in RESTARTS:
        assert f"`{reason}`" in section or f'"{reason}"' in section


def test_the_alerts_call_each_option_by_the_same_names_as_the_page() -> None:
    advised = {flag for alert in ALERTS for flag in re.findall(r"--[a-z][\w-]+", alert["annotations"]["description"])}
    assert advised - set(re.findall(r"--[a-z][\w-]+", TEXT)) <= {
        "--metrics-path", "--health-path", "--spool-dir", "--body-memory", "--tls-client-cert",
    }  # fmt: skip
