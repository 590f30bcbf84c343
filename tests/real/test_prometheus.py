"""Prometheus scrapes a server with two processes: its answers are what the test has sent, also over a reload."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import reserve
from tests.clients import free_port
from tests.real.conftest import Serve
from tests.real.processes import run, running
from tests.real.serving import ServerProcess
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.peer
ALERTS = Path(reserve.__file__).parent / "docs" / "grafana" / "reserve-alerts.yml"
CONFIGURATION = """\
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}
rule_files: [{rules}]
scrape_configs:
  - {{job_name: bind, static_configs: [{{targets: ["{bind}"]}}]}}
  - {{job_name: path, metrics_path: /numbers, static_configs: [{{targets: ["{site}"]}}]}}
"""
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prometheus:
    """A running Prometheus, by its HTTP interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with _OPENER.open(f"{self._url}/api/v1/{path}?{query}", timeout=PATIENCE) as response:
            answer = json.load(response)
        assert answer["status"] == "success"
        return answer["data"]

    def query(self, expression: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The values of an expression at this moment, by some of their labels."""
        result = self.get("query", query=expression)["result"]
        return {
            tuple(sample["metric"].get(label, "") for label in labels): float(sample["value"][1]) for sample in result
        }

    def wait_for(self, expected: dict[tuple[str, ...], float], expression: str, *labels: str) -> None:
        """Wait until an expression has these values."""
        try:
            eventually(lambda: self.query(expression, *labels) == expected)
        except AssertionError:
            assert self.query(expression, *labels) == expected, expression


@contextlib.contextmanager
def prometheus(program: str, folder: Path, site: str, bind: str) -> Iterator[Prometheus]:
    """Run it while the block runs. Its log has the port that the system gave to it."""
    log = folder / "prometheus.log"
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(rules=ALERTS, site=site, bind=bind))
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        "--query.lookback-delta=10s",
    ]
    with running(
        command,
        lambda: "Server is ready to receive web requests" in log.read_text(),
        stop_signal=signal.SIGTERM,
        errors=log,
        output=subprocess.DEVNULL,
        cwd=folder,
    ):
        (address,) = set(re.findall(r'msg="Listening on" address=(\S+)', log.read_text()))
        yield Prometheus(f"http://{address}")


@pytest.fixture
def site(serve: Serve) -> Iterator[tuple[ServerProcess, str]]:
    """A server with two processes, and the address of its metrics."""
    bind = f"127.0.0.1:{free_port()}"
    options = ("--processes", "2", "--metrics-path", "/numbers", "--metrics-bind", bind)
    with serve(*options, "--threads", "4", "app", "http", "wsgi", "trouble", log=None) as server:
        eventually(lambda: metric(bind, 'reserve_processes{state="serving"}') == 2)
        yield server, bind


def metric(address: str, name: str) -> float:
    """The value of one line of the metrics; 0: there is no such line yet."""
    with _OPENER.open(f"http://{address}/metrics", timeout=PATIENCE) as response:
        text = response.read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def send(server: ServerProcess, method: str, path: str, count: int) -> None:
    """Send requests, each on a connection of its own, so that both processes get some."""
    for _ in range(count):
        with contextlib.closing(http.client.HTTPConnection(*server.address, timeout=PATIENCE)) as client:
            client.request(method, path)
            client.getresponse().read()


def test_prometheus_knows_what_was_sent_and_counters_do_not_go_back(
    site: tuple[ServerProcess, str], tmp_path: Path, require_peer: Callable[[str], str]
) -> None:
    server, bind = site
    host, port = server.address
    with prometheus(require_peer("prometheus"), tmp_path, f"{host}:{port}", bind) as scraper:
        for job in ("bind", "path"):
            scraper.wait_for({(): 1.0}, f'up{{job="{job}"}}')
        send(server, "GET", "/", 7)
        send(server, "POST", "/", 4)
        send(server, "GET", "/nowhere", 3)
        send(server, "GET", "/error", 2)
        for job in ("bind", "path"):
            requests = f'reserve_requests_total{{job="{job}"}}'
            scraper.wait_for({("200",): 11, ("404",): 3, ("500",): 2}, f"sum by (status) ({requests})", "status")
            scraper.wait_for({("GET",): 12, ("POST",): 4}, f"sum by (method) ({requests})", "method")
            for name in ("request_duration", "request_queue", "application"):
                scraper.wait_for({(): 16}, f'reserve_{name}_seconds_count{{job="{job}"}}')
            scraper.wait_for({(): 1}, f'reserve_healthy{{job="{job}"}}')
            scraper.wait_for({(): 8}, f'reserve_threads_max{{job="{job}"}}')

        # The alerts are loaded, each can be evaluated, and one of them has noticed the errors that follow.
        def rules() -> list[dict[str, Any]]:
            return [rule for group in scraper.get("rules", type="alert")["groups"] for rule in group["rules"]]

        eventually(lambda: {rule["health"] for rule in rules()} == {"ok"})
        assert len(rules()) == ALERTS.read_text().count("- alert:")
        send(server, "GET", "/error", 10)

        def pending() -> set[str]:
            return {rule["name"] for rule in rules() if rule["state"] != "inactive"}

        eventually(lambda: "ReserveErrorRate" in pending())
        assert pending() == {"ReserveErrorRate"}
        summary = next(alert["annotations"]["summary"] for alert in scraper.get("alerts")["alerts"])
        assert re.search(r"^[\d.]+% of the responses of 127\.0\.0\.1:\d+ are errors \(5xx\)$", summary)

        server.process.send_signal(signal.SIGHUP)
        scraper.wait_for({("bind",): 2, ("path",): 2}, 'reserve_process_restarts_total{reason="reload"}', "job")
        send(server, "GET", "/", 5)
        for job in ("bind", "path"):
            requests = f'reserve_requests_total{{job="{job}"}}'
            scraper.wait_for({("200",): 16, ("404",): 3, ("500",): 12}, f"sum by (status) ({requests})", "status")
        names = scraper.get("label/__name__/values")
        counters = [name for name in names if re.fullmatch(r"reserve_.+_(total|bucket|sum|count)", name)]
        assert len(counters) > 15
        for name in counters:
            assert scraper.query(f"sum(resets({name}[10m]))") == {(): 0.0}, name


def test_promtool_finds_nothing_wrong_with_the_metrics(
    site: tuple[ServerProcess, str], require_peer: Callable[[str], str]
) -> None:
    server, bind = site
    send(server, "GET", "/", 1)
    eventually(lambda: metric(bind, 'reserve_requests_total{method="GET",status="200"}') == 1)
    for url in (f"http://{bind}/metrics", f"{server.url}/numbers"):
        with _OPENER.open(url, timeout=PATIENCE) as response:
            text = response.read()
        done = run([require_peer("promtool"), "check", "metrics"], input=text)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), url
