"""The applications of ``benchmarks.instructions``, in a process in which nothing depends on the time.

Under callgrind, and more so on a busy machine, a process executes few instructions in a millisecond. What happens after
some time would be counted far more often than it happens otherwise, and as often as chance wants. So Python asks a
thread to let others run after 5 s instead of 5 ms, and the monitor looks once a second instead of once a millisecond,
at a lead that is kept, as it is for a fast handler as soon as there were two samples. The thread of a log pauses ten
times as long, so that it writes some 50 lines together, as on a busy server, and not three.
"""

from __future__ import annotations

import sys

from plain_apps import hello, post

from reserve.engine.logs.errorlog import LineWriter
from reserve.engine.scheduler.handoff import AdaptiveHandOff

__all__ = ["hello", "post"]

_SLOWDOWN = 1000

sys.setswitchinterval(_SLOWDOWN * sys.getswitchinterval())
LineWriter.PAUSE *= 10  # reading what is written makes an error of a name that has changed


def _keep(policy: AdaptiveHandOff) -> None:
    policy.keeps, policy.tick = True, 1.0


def _judge_nothing(policy: AdaptiveHandOff, elapsed: float, looks: int, runs: int, waits: float) -> None:
    pass


AdaptiveHandOff.__init__ = _keep  # type: ignore[method-assign]
AdaptiveHandOff.sample = _judge_nothing  # type: ignore[method-assign]
