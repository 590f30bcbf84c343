"""A server that blocks the main thread, and signals that arrive there."""

from __future__ import annotations

from tests.engine.programs import INTERRUPTING_CLIENT, SERVING, run_program


def test_a_keyboard_interrupt_drains_and_is_raised_again() -> None:
    program = f"""{SERVING}{INTERRUPTING_CLIENT}
try:
    server.start()
except KeyboardInterrupt:
    thread.join()
    print("interrupted", reasons, threading.active_count(), server.stats().connections)
"""
    assert run_program(program) == "interrupted ['stop'] 1 0\n"


def test_a_signal_handler_may_stop_the_server_it_interrupts() -> None:
    program = f"""{SERVING}{INTERRUPTING_CLIENT}
signal.signal(signal.SIGINT, lambda number, frame: (server.stop(), server.stop()))
server.start()
thread.join()
print("stopped", reasons, threading.active_count())
"""
    assert run_program(program) == "stopped ['stop'] 1\n"
