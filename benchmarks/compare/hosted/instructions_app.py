"""The application of ``benchmarks.instructions``: hello, in a process in which nothing depends on the time.

Under callgrind, and more so on a busy machine, a process executes few instructions in a millisecond. What happens after
some time would be counted far more often than it happens otherwise, and as often as chance wants. So Python asks
a thread to let others run after 5 s instead of 5 ms, the monitor looks once a second instead of once a millisecond,
and the lead is kept from the beginning, as it is for a fast handler as soon as the monitor has looked 40 times. The
thread of a log pauses ten times as long, so that it writes some 50 lines together, as on a busy server, and not three.
"""

from __future__ import annotations

import sys

from plain_apps import hello

from reserve.engine.logs.errorlog import LineWriter
from reserve.engine.scheduler.handoff import AdaptiveHandOff
from reserve.engine.scheduler.monitor import Monitor

__all__ = ["hello"]

_SLOWDOWN = 1000

sys.setswitchinterval(_SLOWDOWN * sys.getswitchinterval())
# Reading what is written makes an error of a name that has changed.
Monitor.TICK *= _SLOWDOWN
AdaptiveHandOff.QUIET -= AdaptiveHandOff.QUIET
LineWriter.PAUSE *= 10
