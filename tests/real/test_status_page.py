"""The status page of the installed command: in a real browser, with threads that hang, and over the control socket.

With ``RESERVE_SCREENSHOTS=reserve/docs`` in the environment the test writes the pictures of the page there.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reserve.control.page.view import make_view
from reserve.control.totals import Histogram
from tests.control.page.documents import document, histogram, process, requests
from tests.real.conftest import Serve
from tests.real.serving import ServerProcess, fetch
from tests.real.webdriver import Browser
from tests.waiting import PATIENCE, eventually

FOLDER = os.environ.get("RESERVE_SCREENSHOTS")
SITE = """
import fcntl, os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/reports/"):
        with open("gate") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)  # which no exception interrupts
    if path == "/error":
        start_response("500 Internal Server Error", [("Content-Length", "0")])
        return []
    if path == "/orders":
        time.sleep(0.004)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
HOSTILE = "/reports/<img/src=x/onerror=hacked=1></td><script>hacked=1</script>"
HARMLESS = "/reports/quarterly?region=north&format=pdf"
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.timers = new Set();
const set = window.setTimeout, clear = window.clearTimeout;
window.setTimeout = (call, delay) => {
  const timer = set(() => { timers.delete(timer); call(); }, delay);
  timers.add(timer);
  return timer;
};
window.clearTimeout = (timer) => { timers.delete(timer); clear(timer); };
const get = window.fetch;
window.fetches = 0;
window.fetch = async (...words) => {
  window.fetches += 1;
  window.fetching = true;
  try { return await get(...words); } finally { window.fetching = false; }
};
"""
"""Before the script of a page: records what its policy refuses, its timers and what it fetches."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "statussite.py").write_text(SITE)
    return tmp_path


@pytest.fixture
def browser(require_peer: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    with Browser(require_peer("chromedriver"), require_peer("chromium"), tmp_path / "profile") as browser:
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        yield browser


@contextlib.contextmanager
def hanging(server: ServerProcess, site: Path, *paths: str) -> Iterator[None]:
    """Requests that hang, while the block runs."""
    with contextlib.ExitStack() as stack:
        gate = stack.enter_context((site / "gate").open("w"))
        fcntl.flock(gate, fcntl.LOCK_EX)
        for path in paths:
            client = stack.enter_context(server.connect())
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
        yield


def status(server: ServerProcess, query: str = "json", path: str = "/status", **fields: str) -> tuple[int, Any]:
    with server.client() as client:
        code, head, body = fetch(client, "GET", f"{path}?{query}", headers=fields)
    return code, json.loads(body) if head["Content-Type"] == "application/json" else body.decode()


def busy_threads(server: ServerProcess, path: str = "/status") -> list[Any]:
    code, document = status(server, path=path)
    if code != 200:  # the page of another server, which was asked for a moment ago
        return []
    processes = document["processes"]
    workers = [thread for one in processes for thread in one["stats"]["workers"]]
    return [thread for thread in workers if thread["state"] in ("running", "stuck")]


def look(browser: Browser, name: str, width: int, height: int, *, dark: bool) -> None:
    """Emulate a screen, check that the page fits, and write a picture of it for the documentation if asked for."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.devtools("Emulation.setEmulatedMedia", features=[scheme])
    browser.devtools("Emulation.setScrollbarsHidden", hidden=bool(FOLDER))
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.devtools("Emulation.setDeviceMetricsOverride", **size)
    colour, wide, inner = browser.run(
        "return [getComputedStyle(document.body).backgroundColor, document.documentElement.scrollWidth, innerWidth]"
    )
    assert wide <= inner == width
    assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 200) is dark
    if FOLDER:
        browser.screenshot(Path(FOLDER) / f"status-{name}.png")


# ---- without a browser ----


def test_it_is_there_while_every_thread_hangs(serve: Serve, site: Path) -> None:
    options = ("--threads", "2", "--status-path", "/status", "--no-access-log")
    with (
        serve("app", "http", "wsgi", "statussite", *options, cwd=site) as server,
        hanging(server, site, "/reports/1", "/reports/2", "/reports/3"),
    ):
        eventually(lambda: len(busy_threads(server)) == 2)
        code, view = status(server, "view")
        assert code == 200
        assert [row["cells"][2] for row in view["threads"]["rows"]] == ["running", "running"]
        with server.client() as client:
            code, head, body = fetch(client, "GET", "/status")
            assert (code, head["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert b"GET /reports/" in body
            assert fetch(client, "HEAD", "/status")[2] == b""
            code, head, _ = fetch(client, "POST", "/status")
            assert (code, head["Allow"]) == (405, "GET, HEAD")


def test_others_get_a_404_and_the_log_names_the_option(serve: Serve, site: Path) -> None:
    log = [
        r".* WARNING: 127\.0\.0\.1:\d+: 404: the status page is for --status-allow loopback; Host is no name of .*",
        r".* WARNING: 127\.0\.0\.1:\d+: 404: the status page is for --status-allow loopback; a frontend that is not .*",
    ]
    with serve("app", "http", "wsgi", "statussite", "--status-path", "/status", cwd=site, log=log) as server:
        assert status(server)[0] == 200
        assert status(server, Host="rebound.example") == (404, "404 Not Found\n")
        assert status(server, **{"X-Forwarded-For": "127.0.0.1"}) == (404, "404 Not Found\n")
        server.wait_for_line("a frontend that is not")


def test_the_client_behind_a_trusted_frontend_counts(serve: Serve, site: Path) -> None:
    options = (
        "--status-path",
        "/status",
        "--trusted-proxies",
        "127.0.0.1",
        "--status-allow",
        "loopback,203.0.113.0/24",
    )
    with serve("app", "http", "wsgi", "statussite", *options, cwd=site, log=None) as server:
        assert status(server, **{"X-Forwarded-For": "203.0.113.9"}, Host="shop.example")[0] == 200
        assert status(server, **{"X-Forwarded-For": "198.51.100.9"})[0] == 404
        assert status(server, **{"X-Forwarded-For": "127.0.0.1"})[0] == 200
        server.wait_for_line("its client is not among them")


def test_every_process_is_on_it(serve: Serve, site: Path) -> None:
    options = ("--processes", "2", "--threads", "2", "--status-path", "/status")
    with serve("app", "http", "wsgi", "statussite", *options, cwd=site, log=None) as server:

        def pids() -> set[int]:
            found = status(server)[1]
            assert found["supervisor"]["pid"] == server.process.pid
            return {one["pid"] for one in found["processes"] if one["phase"] == "serving"}

        eventually(lambda: len(pids()) == 2)


def test_a_server_of_its_own_shows_another_one(serve: Serve, site: Path) -> None:
    control = site / "control.sock"
    options = ("--threads", "2", "--control", str(control))
    with serve("app", "http", "status", str(control), log=None) as page:
        assert status(page, path="/")[0] == 503  # that server is not there yet
        with (
            serve("app", "http", "wsgi", "statussite", *options, cwd=site, log=None) as server,
            hanging(server, site, "/reports/7"),
        ):
            eventually(lambda: [one["request"] for one in busy_threads(page, "/")] == ["GET /reports/7"])
            assert status(page, path="/")[1]["processes"][0]["pid"] == server.process.pid
        eventually(lambda: status(page, path="/")[0] == 503)
        with page.client() as client:
            code, _, body = fetch(client, "GET", "/")
        assert code == 503
        assert b"Not reachable" in body


# ---- in a browser ----


@pytest.mark.peer
def test_a_browser_shows_what_happens(serve: Serve, site: Path, browser: Browser) -> None:
    path = HARMLESS if FOLDER else HOSTILE
    options = ("--threads", "8", "--request-timeout", "1s", "--max-stuck", "2", "--status-path", "/status")
    with serve("app", "http", "wsgi", "statussite", *options, "--no-access-log", cwd=site, log=None) as server:
        browser.go(f"{server.url}/status")
        eventually(lambda: browser.run("return document.getElementById('charts-section').hidden") is False)
        assert browser.text("#headline-text") == "Healthy"
        with hanging(server, site, path, "/reports/annual?year=2026", "/reports/monthly"):
            eventually(lambda: browser.text("#headline-text") == "Not healthy")
            assert "max-stuck" in browser.text("#reasons")
            states = (
                "return [...document.querySelectorAll('#threads tbody tr.bad .state')].map((one) => one.textContent)"
            )
            eventually(lambda: browser.run(states) == ["stuck"] * 3)

            # What a client sends is text, and the policy of the page refuses nothing of the page itself.
            assert f"GET {path}" in browser.run("return document.getElementById('threads').textContent")
            assert browser.run("return typeof hacked") == "undefined"
            assert browser.run("return document.scripts.length") == 1
            assert browser.run("return document.images.length") == 0
            assert browser.run("return violations") == []

            with load(server):
                seconds = 30 if FOLDER else 0
                drawn = "return document.querySelector('.plot .series').getAttribute('d').length"
                eventually(lambda: browser.run(drawn) > 40 + 10 * seconds)
                label = "return document.querySelector('.plot svg').getAttribute('aria-label')"
                eventually(
                    lambda: re.search(r"^Requests a second in the last [a-z0-9 ]+: now [1-9]", browser.run(label) or "")
                )
                latency = "return document.querySelectorAll('.chart')[2].querySelector('.values').textContent"
                eventually(lambda: re.search(r"\d\sms p50.*\d\sm?s p99", browser.run(latency)))
                errors = (
                    "return document.querySelectorAll('.chart')[1].querySelector('.plot .series').getAttribute('d')"
                )
                eventually(lambda: len(set(re.findall(r" ([0-9.]+)", browser.run(errors)))) > 1)
                look(browser, "light", 1100, 900, dark=False)
                look(browser, "dark", 1100, 900, dark=True)
                look(browser, "phone", 360, 900, dark=False)

            # It asks only while somebody looks.
            settled = "return timers.size === 0 && !window.fetching"
            browser.click("#pause")
            eventually(lambda: browser.run(settled))
            browser.click("#pause")
            eventually(lambda: not browser.run(settled))
            browser.run(
                "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});"
                "document.dispatchEvent(new Event('visibilitychange'))"
            )
            eventually(lambda: browser.run(settled))
            before = browser.run("return window.fetches")
            browser.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
            eventually(lambda: browser.run("return window.fetches") > before)
        eventually(lambda: not busy_threads(server))
        server.stop()
        eventually(lambda: browser.text("#headline-text") == "No news")
        eventually(lambda: "cannot be reached" in browser.run("return document.getElementById('trouble').textContent"))


@contextlib.contextmanager
def load(server: ServerProcess) -> Iterator[None]:
    """Clients that send requests while the block runs."""
    ended = threading.Event()

    def run(errors: bool) -> None:
        with server.client() as client, contextlib.suppress(OSError, http.client.HTTPException):
            count = 0
            while not ended.is_set():
                count += 1
                fetch(client, "GET", "/error" if errors and count % 50 == 0 else "/orders")

    threads = [threading.Thread(target=run, args=(number == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(PATIENCE)


@pytest.mark.peer
def test_the_charts_have_the_rates_and_percentiles_between_two_documents(
    serve: Serve, site: Path, browser: Browser
) -> None:
    def view(time: float, good: int, bad: int, **changes: Any) -> dict[str, Any]:
        counts = requests(
            responses=(("GET", 200, good), ("GET", 500, bad)),
            duration=histogram(b4=good, b14=bad),
            queue=histogram(b0=good),
        )
        numbers = {"busy": 3, "threads": 4, "max_threads": 8, "connections": 1234, "waiting_requests": 2, **changes}
        return make_view(document(process(requests=counts, refused=bad // 2, **numbers), time=time)).as_json()

    def show(*views: dict[str, Any]) -> None:
        browser.run(
            f"const views = {json.dumps(views)};"
            "window.fetch = async () => new Response(JSON.stringify(views.length > 1 ? views.shift() : views[0]))"
        )

    def values(number: int) -> str:
        script = f"return document.querySelectorAll('.chart')[{number}].querySelector('.values').textContent"
        return re.sub(r"\s+", " ", browser.run(script)).strip()

    with serve("app", "http", "wsgi", "statussite", "--status-path", "/status", cwd=site, log=None) as server:
        browser.go(f"{server.url}/status")
        show(view(1000, 500, 10), view(1002, 696, 14))
        eventually(lambda: values(0) == "100")
        assert values(1) == "2.0 5xx1.0 refused"
        assert values(2) == "18 ms p5025 ms p95over 30 s p99"
        assert values(3) == "3 of 4, at most 8"
        assert values(4) == "0.5 ms p500.9 ms p951.0 ms p99"
        assert values(5) == "1 234 open2 queued"
        recent = "return document.querySelector('#totals tbody tr .recent').textContent"
        assert browser.run(recent) == "+200"
        show(view(1004, 5, 0, connections=7))  # another server, which counts from 0
        eventually(lambda: values(5) == "7 open2 queued")
        assert (values(0), values(2)) == ("\u2013", "\u2013 p50\u2013 p95\u2013 p99")
        assert browser.run(recent) == "\u2013"


@pytest.mark.peer
def test_the_percentiles_of_the_script_are_those_of_the_server(browser: Browser) -> None:
    """The script computes them from two documents, of which the server knows one."""
    script = files("reserve.control.page").joinpath("page.js").read_text()
    found = re.search(r"const percentile = .*?\n  };\n", script, re.DOTALL)
    assert found is not None
    numbers = Random(7)
    bounds = (0.001, 0.01, 0.5, 30.0)
    counts = [(0, 0, 0, 0, 0), (0, 0, 0, 0, 3), (1, 0, 0, 0, 0), (5, 0, 5, 0, 0)]
    counts += [tuple(numbers.choice((0, 0, 1, 7, 10**9)) for _ in range(5)) for _ in range(300)]
    cases = [(row, share) for row in counts for share in (0.5, 0.95, 0.99, 1.0)]
    browser.go("about:blank")
    computed = browser.run(
        f"{found[0]} return {json.dumps(cases)}.map(([counts, share]) => {{"
        f"const value = percentile({json.dumps(bounds)}, counts, share);"
        "return value === Infinity ? 'longer' : value; })"
    )
    assert len(computed) == len(cases)
    for (row, share), value in zip(cases, computed, strict=True):
        expected = Histogram(bounds, row).quantile(share)
        if expected is None or expected == float("inf"):
            assert value == (None if expected is None else "longer")
        else:
            assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.peer
def test_a_browser_without_javascript_shows_tables(serve: Serve, site: Path, browser: Browser) -> None:
    options = ("--threads", "2", "--status-path", "/status", "--no-access-log")
    with (
        serve("app", "http", "wsgi", "statussite", *options, cwd=site, log=None) as server,
        hanging(server, site, "/reports/1"),
    ):
        eventually(lambda: len(busy_threads(server)) == 1)
        browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
        browser.go(f"{server.url}/status")
        text = browser.devtools("Runtime.evaluate", expression="document.body.innerText")["result"]["value"]
        for wanted in ("Healthy", "GET /reports/1", "buffer memory", "without JavaScript"):
            assert wanted in text
        assert "The last minutes" not in text
