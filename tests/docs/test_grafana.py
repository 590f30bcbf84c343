"""The files for Grafana and Prometheus are right: they parse, every name in them exists, and each alert fires."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from reserve.control.metrics.exposition import exposition
from reserve.control.totals import Listener, Totals
from reserve.options.table import OPTIONS
from tests.waiting import PATIENCE

yaml = pytest.importorskip("yaml")

FOLDER = Path(reserve.__file__).parent / "docs" / "grafana"
RULES = FOLDER / "reserve-alerts.yml"
RULE_TESTS = Path(__file__).parent / "reserve-alerts-tests.yml"
DASHBOARD = json.loads((FOLDER / "reserve-dashboard.json").read_text("ascii"))
ALERTS = [rule for group in yaml.safe_load(RULES.read_text("ascii"))["groups"] for rule in group["rules"]]
FLAGS = {option.flag for option in OPTIONS} | {f"--no-{option.name}" for option in OPTIONS}

SELECTOR = re.compile(r"\b(reserve_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+) *(=~|!=|!~|=) *"([^"]*)"')
LABELS = re.compile(r"\b(?:by|without|on|ignoring) *\(([^)]*)\)")
LINE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)
OF_PROMETHEUS = {"up", "job", "instance"}
"""A metric that Prometheus itself has of each target, and the labels that it gives to all."""


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> dict[str, str]:
    """Every expression of the dashboard, by the title of its panel and its letter."""
    found = {
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", ())
    }
    found.update((item["name"], item["expr"]) for item in DASHBOARD["annotations"]["list"] if "expr" in item)
    return found


EXPRESSIONS = expressions()


def exposed() -> dict[str, dict[str, set[str]]]:
    """The metrics of a server that has one of everything: the names of their lines, with labels and their values."""
    states = ("serving", "retiring", "starting", "stopping", "unresponsive")
    totals = Totals(
        responses=(("GET", 200, 1), ("GET", 404, 1), ("GET", 499, 1), ("GET", 500, 1)),
        listeners=(Listener(address="127.0.0.1:80", backlog=0, backlog_limit=1),),
        states=dict.fromkeys(states, 0),
        restarts=dict.fromkeys(("crash", "recycle", "reload", "kill"), 0),
    )
    found: dict[str, dict[str, set[str]]] = {}
    for name, labels in LINE.findall(exposition(totals)):
        values = found.setdefault(name, {})
        for label, _, value in MATCHER.findall(labels):
            values.setdefault(label, set()).add(value)
    return found


EXPOSED = exposed()


def check_names(expression: str) -> None:
    """Every metric, every label and every value that the expression selects is one that the server has."""
    used = SELECTOR.findall(expression)
    assert used or "up" in expression
    labels = set(OF_PROMETHEUS)
    for name, selectors in used:
        assert name in EXPOSED, f"there is no metric {name}: {expression}"
        labels.update(EXPOSED[name])
        for label, operator, value in MATCHER.findall(selectors):
            if label in OF_PROMETHEUS:
                continue
            assert label in EXPOSED[name], f"{name} has no label {label}: {expression}"
            values = EXPOSED[name][label]
            for one in value.split("|") if operator == "=~" else [value]:
                assert any(re.fullmatch(one, known) for known in values), f"no {label} is {one}: {expression}"
    for group in LABELS.findall(expression):
        assert set(re.findall(r"\w+", group)) <= labels, expression


@pytest.mark.parametrize("place", EXPRESSIONS)
def test_the_names_in_an_expression_of_the_dashboard_exist(place: str) -> None:
    check_names(EXPRESSIONS[place])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_complete_and_says_which_option_helps(alert: dict[str, Any]) -> None:
    check_names(alert["expr"])
    assert re.fullmatch(r"\d+[sm]", alert["for"])
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description"}
    assert "{{ $labels." in alert["annotations"]["summary"]
    flags = set(re.findall(r"--[a-z][\w-]+", alert["annotations"]["description"]))
    assert flags
    assert flags <= FLAGS
    for label in re.findall(r"\$labels\.(\w+)", str(alert["annotations"])):
        names = [name for name, _ in SELECTOR.findall(alert["expr"])]
        assert label in OF_PROMETHEUS or any(label in EXPOSED[name] for name in names)


def test_a_name_that_does_not_exist_is_found() -> None:
    check_names('sum by (instance) (reserve_threads{state="busy"})')
    for wrong in (
        "reserve_thread",
        'reserve_threads{status="busy"}',
        'reserve_threads{state="lazy"}',
        'reserve_requests_total{status=~"6.."}',
        "sum by (state) (reserve_requests_total)",
    ):
        with pytest.raises(AssertionError):
            check_names(wrong)


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for expression in EXPRESSIONS.values() for name, _ in SELECTOR.findall(expression)}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in EXPOSED} == bases


def test_the_dashboard_has_its_rows_and_variables_and_no_overlapping_panels() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows[1:] == ["Traffic", "Latency and queue wait", "Threads", "Connections", "Limits", "Processes"]
    assert [item["name"] for item in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    assert DASHBOARD["id"] is None  # Grafana gives it one
    numbers = [panel["id"] for panel in panels()]
    assert len(numbers) == len(set(numbers))
    taken = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert all(x < 24 for x, _ in cells)
        assert not taken & cells, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            assert 'instance=~"$instance"' in target["expr"]
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for flag in re.findall(r"--[a-z][\w-]+", str(panel)):
            assert flag in FLAGS


def promtool(program: str, *arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [program, *arguments], cwd=cwd, text=True, timeout=PATIENCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.peer
def test_promtool_can_parse_the_expressions_of_the_dashboard(
    tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    program = require_peer("promtool")
    rules = [
        {"record": f"expression:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    (tmp_path / "dashboard.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool(program, "check", "rules", "dashboard.yml", cwd=tmp_path)


@pytest.mark.peer
def test_promtool_accepts_the_alerts_and_each_fires_with_its_trouble(
    tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    program = require_peer("promtool")
    promtool(program, "check", "rules", str(RULES), cwd=tmp_path)
    promtool(program, "test", "rules", str(RULE_TESTS), cwd=tmp_path)


def test_each_alert_has_a_test() -> None:
    tested = re.findall(r'alertname="(\w+)"', RULE_TESTS.read_text("ascii"))
    assert sorted(tested) == sorted(alert["alert"] for alert in ALERTS)
