"""What signals do to the command, with a fake server in this process."""

from __future__ import annotations

import io
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from reserve.cli.command import main
from reserve.cli.console import Console
from reserve.cli.earlysignals import EarlySignals
from reserve.cli.signals import StopSignals
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
                signal.raise_signal(signal.SIGTERM)
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


def test_signals_stop_the_server_even_if_the_application_handles_them(workdir: Path) -> None:
    source = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANDLER
    (workdir / "cli_ignoring.py").write_text(source)
    before = signal.getsignal(signal.SIGTERM)
    FakeServer.while_serving = staticmethod(lambda server: signal.raise_signal(signal.SIGTERM))
    assert main(["app", "cli_ignoring", "-b", "127.0.0.1:0"]) == 0
    assert FakeServer.made[0].stops == [None]
    assert signal.getsignal(signal.SIGTERM) is before


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
    for module in ("earlysignals", "signals"):
        monkeypatch.setattr(f"reserve.cli.{module}.has_terminal", lambda: terminal[0])
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
                    signals.serve(FakeServer.__new__(FakeServer), reloaded.set)
                    assert reloaded.wait(PATIENCE)
            finally:
                signals.close()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)
