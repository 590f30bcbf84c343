"""What signals do to the command, with a fake server in this process."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reserve.cli.command import main
from reserve.cli.console import Console
from reserve.cli.early.signals import EarlySignals
from reserve.cli.early.signaltable import Reaction, name_of, reaction_to
from reserve.cli.signals import StopSignals
from reserve.control.client import ControlClient
from tests.cli.fakes import ARGV, HANDLER, FakeServer
from tests.waiting import PATIENCE, eventually


def test_the_first_signal_stops_the_server_and_the_second_stops_it_at_once(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(signal.SIGTERM)
        eventually(lambda: server.stops == [None])
        signal.raise_signal(signal.SIGINT)
        eventually(lambda: server.stops == [None, 0])

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    FakeServer.while_serving = staticmethod(while_serving)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--stop-timeout", "9"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    err = capfd.readouterr().err
    assert "requests in flight have 9 s, a second signal stops at once\n" in err
    assert err.endswith("reserve: stopping at once\nreserve: the server has stopped\n")


@pytest.mark.parametrize("at_once", [False, True])
def test_a_stop_by_the_control_socket_is_like_a_signal(
    at_once: bool, workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def while_serving(server: FakeServer) -> None:
        with ControlClient("control") as client:
            client.call("stop", now=at_once)
            eventually(lambda: server.stops == ([None, 0] if at_once else [None]))
            if not at_once:
                client.call("stop", now=True)
                eventually(lambda: server.stops == [None, 0])

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0", "--control", "control"]) == 0
    assert capfd.readouterr().err.endswith("reserve: stopping at once\nreserve: the server has stopped\n")
    assert not (workdir / "control").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "number", "before"),
    [(Terminal, signal.SIGINT, "\n\n"), (Terminal, signal.SIGTERM, "\n"), (io.StringIO, signal.SIGINT, "\n")],
)
def test_a_message_does_not_follow_the_echo_of_the_key_on_a_terminal(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], number: int, before: str
) -> None:
    (workdir / "cli_slow.py").write_text(
        f"import signal\nprint(file=__import__('sys').stderr)\nsignal.raise_signal({number})\n"
    )

    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(number)
        eventually(lambda: server.stops == [None])
        signal.raise_signal(number)
        eventually(lambda: server.stops == [None, 0])

    FakeServer.while_serving = staticmethod(while_serving)
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    for text in ("stopping; requests", "stopping at once"):
        written = stderr.getvalue().partition(f"reserve: {text}")[0]
        assert written.endswith(before)
        assert not written.endswith(f"\n{before}")
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    assert main(["app", "cli_slow", "-b", "127.0.0.1:0"]) == 1
    assert stderr.getvalue() == f"{before}reserve: interrupted before the server started\n"


def test_a_signal_during_the_banner_stops_the_server(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "Ctrl-C stops it" in text:
                os.kill(os.getpid(), signal.SIGTERM)  # this thread takes no signals
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].stops == [None]


def test_a_signal_has_an_effect_while_the_main_thread_waits_for_a_lock(workdir: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        lock = threading.Lock()
        lock.acquire()
        server.request_stop = lambda timeout=None: lock.release()  # type: ignore[method-assign]
        main_thread = threading.get_ident()

        def send_signal() -> None:
            eventually(lambda: "is_waiting" in sys._current_frames()[main_thread].f_locals)
            # Sent to this thread, so that it does not interrupt the system call of the main thread.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

        sender = threading.Thread(target=send_signal)
        sender.start()
        is_waiting = True
        assert lock.acquire(timeout=PATIENCE) is is_waiting
        sender.join()

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(["app", "cli_plain", "-b", "127.0.0.1:0"]) == 0


def test_after_a_signal_during_the_import_the_listeners_are_closed(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "cli_slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\n")
    path = workdir / "s.sock"
    assert main(["app", "cli_slow", "-b", f"unix:{path}"]) == 1
    assert not path.exists()
    assert capsys.readouterr().err == "reserve: interrupted before the server started\n"


@pytest.mark.parametrize(
    "source",
    [
        "import contextlib, signal\n"
        "with contextlib.suppress(BaseException):\n"
        f"    signal.raise_signal(signal.SIGTERM)\n{HANDLER}",
        "import signal\n"
        "class Application:\n"
        "    @property\n"
        "    def __signature__(self):\n"  # asked for by what checks the application
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    def __call__(self, environ, start_response): ...\n"
        "application = Application()\n",
    ],
    ids=["by-the-application", "by-what-looks-at-it"],
)
def test_a_signal_during_the_start_is_not_lost_when_its_exception_is_caught(
    workdir: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    (workdir / "cli_catching.py").write_text(source)
    name = ["http", "wsgi", "cli_catching"] if "application" in source else ["cli_catching"]
    assert main(["app", *name, "-b", "127.0.0.1:0"]) == 1
    assert not any(server.stops for server in FakeServer.made)
    assert capsys.readouterr().err == "reserve: interrupted before the server started\n"


def test_signals_stop_the_server_even_if_the_application_handles_them(workdir: Path) -> None:
    source = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANDLER
    (workdir / "cli_ignoring.py").write_text(source)
    before = signal.getsignal(signal.SIGTERM)
    FakeServer.while_serving = staticmethod(lambda server: signal.raise_signal(signal.SIGTERM))
    assert main(["app", "cli_ignoring", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].stops == [None]
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigquit_stops_the_server_at_once_and_the_next_signal_is_the_third(workdir: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(signal.SIGQUIT)
        eventually(lambda: server.stops == [0])
        signal.raise_signal(signal.SIGTERM)
        eventually(lambda: server.stops == [0, 0])

    before = signal.getsignal(signal.SIGQUIT)
    FakeServer.while_serving = staticmethod(while_serving)
    assert main(ARGV) == 0
    assert signal.getsignal(signal.SIGQUIT) is before


def test_a_signal_without_a_meaning_is_logged_and_changes_nothing(workdir: Path) -> None:
    numbers = [number for number in signal.valid_signals() if reaction_to(number) in (Reaction.REOPEN, Reaction.REPORT)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # not those of the test run

    def while_serving(server: FakeServer) -> None:
        for count, number in enumerate(numbers, 1):
            signal.raise_signal(number)
            eventually(lambda count=count: len(server.reloads) == count)

    FakeServer.while_serving = staticmethod(while_serving)
    assert main(ARGV) == 0
    assert {signal.getsignal(number) for number in numbers} == {signal.SIG_DFL}
    (server,) = FakeServer.made
    assert server.stops == []
    assert [line.partition(":")[0] for line in server.reloads] == [name_of(number) for number in numbers]


def test_a_signal_that_arrives_during_the_import_waits_for_the_log(workdir: Path) -> None:
    (workdir / "cli_usr1.py").write_text("import signal\nsignal.raise_signal(signal.SIGUSR1)\n" + HANDLER)
    FakeServer.while_serving = staticmethod(lambda server: eventually(lambda: server.reloads))
    assert main(["app", "cli_usr1", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].reloads[0].startswith("SIGUSR1: there is no log file to open again")


def test_the_application_keeps_its_handlers(workdir: Path) -> None:
    (workdir / "cli_own.py").write_text(
        "import signal\nseen = []\n"
        "for number in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGPROF):\n"
        "    signal.signal(number, lambda number, frame: seen.append(number))\n" + HANDLER + "handle.seen = seen\n"
    )
    numbers = [signal.SIGUSR1, signal.SIGQUIT, signal.SIGPROF]

    def while_serving(server: FakeServer) -> None:
        for number in numbers:
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGUSR2)
        eventually(lambda: server.reloads)
        assert server.handle.seen == numbers

    before = {number: signal.getsignal(number) for number in numbers}
    FakeServer.while_serving = staticmethod(while_serving)
    try:
        assert main(["app", "cli_own", "-b", "127.0.0.1:0"]) == 0
        assert all(signal.getsignal(number) is not before[number] for number in numbers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    (server,) = FakeServer.made
    assert (len(server.reloads), server.stops) == (1, [])


def test_a_flood_of_signals_does_not_lose_the_one_that_stops_the_server() -> None:
    blocked, release, stopped = threading.Event(), threading.Event(), threading.Event()
    lines: list[str] = []

    def on_sighup() -> None:
        blocked.set()
        release.wait(PATIENCE)

    server = SimpleNamespace(
        request_stop=lambda timeout=None: stopped.set(),
        info=lambda text, kind: lines.append(kind),
        warning=lambda text, kind: lines.append(kind),
    )
    with Console() as console:
        signals = StopSignals(console)
        try:
            signals.install()
            signals.serve(server, server, on_sighup)
            signal.raise_signal(signal.SIGHUP)
            assert blocked.wait(PATIENCE)
            for _ in range(5000):
                signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGTERM)
            release.set()
            assert stopped.wait(PATIENCE)
        finally:
            release.set()
            signals.close()
    assert set(lines) == {"SIGUSR2 signals"}  # the kind limits the lines of the error log


def test_on_another_thread_no_signal_handler_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def run() -> None:
        signals = StopSignals(Console())
        signals.install()
        seen.append(signal.getsignal(signal.SIGTERM))
        signals.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_sighup_reloads_the_certificates(tls_workdir: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        for count in (1, 2):
            signal.raise_signal(signal.SIGHUP)
            eventually(lambda count=count: len(server.reloads) == count)

    before = signal.getsignal(signal.SIGHUP)
    FakeServer.while_serving = staticmethod(while_serving)
    assert main([*ARGV, "--tls-cert", "a.both"]) == 0
    assert signal.getsignal(signal.SIGHUP) is before
    assert FakeServer.made[0].stops == []


def test_sighup_without_a_certificate_is_logged(workdir: Path) -> None:
    def while_serving(server: FakeServer) -> None:
        signal.raise_signal(signal.SIGHUP)
        eventually(lambda: server.reloads)

    before = signal.getsignal(signal.SIGHUP)
    FakeServer.while_serving = staticmethod(while_serving)
    assert main(ARGV) == 0
    (server,) = FakeServer.made
    assert server.stops == []
    (line,) = server.reloads
    assert line.startswith("SIGHUP: there is nothing to reload; ")
    assert signal.getsignal(signal.SIGHUP) is before


def test_sighup_during_the_import_changes_nothing(workdir: Path) -> None:
    (workdir / "cli_sighup.py").write_text("import signal\nsignal.raise_signal(signal.SIGHUP)\n" + HANDLER)
    assert main(["app", "cli_sighup", "-b", "127.0.0.1:0"]) == 0


@pytest.mark.parametrize(
    ("before", "closes", "stops"),
    [
        (signal.SIG_DFL, True, [None]),
        (signal.SIG_DFL, False, []),
        (signal.SIG_IGN, True, []),  # nohup
    ],
)
def test_sighup_from_a_closed_terminal_stops_the_server(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, before: signal.Handlers, closes: bool, stops: list[None]
) -> None:
    terminal = [True]
    monkeypatch.setattr("reserve.cli.signals.has_terminal", lambda: terminal[0])

    def while_serving(server: FakeServer) -> None:
        terminal[0] = not closes
        for count in (1, 2):  # the kernel and the shell send one each, which does not count as a second signal
            signal.raise_signal(signal.SIGHUP)
            eventually(lambda count=count: server.stops or len(server.reloads) == count)

    previous = signal.signal(signal.SIGHUP, before)
    try:
        FakeServer.while_serving = staticmethod(while_serving)
        assert main(ARGV) == 0
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert FakeServer.made[0].stops == stops


@pytest.mark.parametrize("closed", [False, True])
def test_sighup_during_the_imports_waits_for_the_server_unless_the_terminal_closed(
    monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    terminal = [True]
    for module in ("early.signals", "signals"):
        monkeypatch.setattr(f"reserve.cli.{module}.has_terminal", lambda: terminal[0])
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    reloaded = threading.Event()
    early = EarlySignals()
    try:
        early.install()
        terminal[0] = not closed
        signal.raise_signal(signal.SIGHUP)
        with Console() as console:
            signals = StopSignals(console)
            try:
                if closed:
                    with pytest.raises(KeyboardInterrupt):
                        signals.install(early)
                else:
                    signals.install(early)
                    server = FakeServer.__new__(FakeServer)
                    signals.serve(server, server, reloaded.set)  # type: ignore[arg-type]
                    assert reloaded.wait(PATIENCE)
            finally:
                signals.close()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
        signal.signal(signal.SIGHUP, inherited)
