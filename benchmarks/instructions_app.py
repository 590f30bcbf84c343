"""The application of ``benchmarks.instructions``: hello, in a process whose clocks for threads are as slow as valgrind.

Python asks a thread to let others run every 5 ms, and reserve's monitor looks every millisecond. Under callgrind a
process executes some 50 times fewer instructions in that time, so that both would be counted 50 times as often as they
happen otherwise, and as often as chance wants. Here both times are 50 times longer.
"""

from __future__ import annotations

import sys

from benchmarks.apps import hello
from reserve.engine.scheduler.monitor import Monitor

__all__ = ["SLOWDOWN", "hello"]

SLOWDOWN = 50

sys.setswitchinterval(SLOWDOWN * sys.getswitchinterval())
Monitor.TICK *= SLOWDOWN
