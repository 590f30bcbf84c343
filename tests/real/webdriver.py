"""A client of the W3C WebDriver protocol (https://www.w3.org/TR/webdriver2/), as far as the tests need it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.waiting import PATIENCE

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's reference, which the standard fixes."""


class Browser:
    """A headless Chromium and its driver, which run while the ``with`` block runs. The test's thread owns both.

    :param driver: the path of ``chromedriver``.
    :param browser: the path of Chromium.
    :param profile: the folder for the browser's user data.
    :param flags: more command line options for the browser.
    :param settings: the browser's settings ("prefs"), as a tree.
    :param environ: the environment variables of both, by default those of this process.
    """

    def __init__(
        self,
        driver: str,
        browser: str,
        profile: Path,
        *,
        flags: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._driver = driver
        self._browser = browser
        self._profile = profile
        self._flags = flags
        self._settings = dict(settings or {})
        self._environ = environ

    def __enter__(self) -> Browser:
        with contextlib.ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(
                    [self._driver, "--port=0"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=self._environ,
                )
            )
            stack.callback(process.kill)
            output = []
            assert process.stdout is not None
            for line in process.stdout:
                output.append(line)
                if match := re.search(r"started successfully on port (\d+)", line):
                    break
            else:
                raise AssertionError(f"the driver did not start: {''.join(output)}")
            reader = threading.Thread(target=lambda: output.extend(process.stdout or ()))
            reader.start()
            stack.callback(reader.join)
            stack.callback(process.kill)
            self._client = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=PATIENCE)
            stack.callback(self._client.close)
            flags = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--window-size=1000,1400",
                f"--user-data-dir={self._profile}",
                *self._flags,
            ]
            options = {"binary": self._browser, "args": flags, "prefs": self._settings}
            request = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            self._session = f"/session/{self._call('POST', '/session', request)['sessionId']}"
            stack.callback(self._call, "DELETE", self._session)
            # The driver waits for elements that do not exist yet, because a click may return before the page changes.
            self._call("POST", f"{self._session}/timeouts", {"implicit": int(PATIENCE * 1000)})
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def go(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._call("POST", f"{self._session}/url", {"url": url})

    @property
    def url(self) -> str:
        """The address of the page."""
        return str(self._call("GET", f"{self._session}/url"))

    @property
    def title(self) -> str:
        """The title of the page."""
        return str(self._call("GET", f"{self._session}/title"))

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field; for a file field, the path of the file."""
        self._call("POST", f"{self._element(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Click an element. Afterwards, first look for an element that only the next page has."""
        self._call("POST", f"{self._element(selector)}/click", {})

    def text(self, selector: str) -> str:
        """The text of an element, as the browser displays it."""
        return str(self._call("GET", f"{self._element(selector)}/text"))

    def new_tab(self) -> str:
        """Open an empty tab and go on with it; return its handle."""
        handle = str(self._call("POST", f"{self._session}/window/new", {"type": "tab"})["handle"])
        self.switch(handle)
        return handle

    @property
    def tab(self) -> str:
        """The handle of the current tab."""
        return str(self._call("GET", f"{self._session}/window"))

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol, for what WebDriver does not have: colours, sizes, downloads."""
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script: str) -> Any:
        """Run JavaScript and return its result; wait for the value of a promise."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    @property
    def windows(self) -> list[str]:
        """The handles of the open tabs and windows."""
        return list(self._call("GET", f"{self._session}/window/handles"))

    def switch(self, handle: str) -> None:
        """Go on with another tab or window."""
        self._call("POST", f"{self._session}/window", {"handle": handle})

    def open_tab(self) -> str:
        """Open an empty tab, and return its handle. The calls still go to the former one."""
        return str(self._call("POST", f"{self._session}/window/new", {"type": "tab"})["handle"])

    def close_window(self) -> None:
        """Close the tab or window. With the last one the browser would end."""
        self._call("DELETE", f"{self._session}/window")

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the page to a file."""
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def _element(self, selector: str) -> str:
        element = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return f"{self._session}/element/{element[_ELEMENT]}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        text = None if body is None else json.dumps(body)
        self._client.request(method, path, text, {"Content-Type": "application/json"})
        response = self._client.getresponse()
        value = json.loads(response.read())["value"]
        assert response.status == 200, f"{method} {path}: {value}"
        return value
