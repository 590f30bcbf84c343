"""``reserve app miniredis``: a subset of Redis in memory. An example of a binary protocol with pipelining.

``redis-cli -p 6379`` and ``redis-benchmark`` talk to it::

    reserve app miniredis --bind 127.0.0.1:6379 --threads 4

The protocol (:mod:`~reserve.examples.miniredis.resp`) is bytes in, commands out, and needs no sockets; the commands
(:mod:`~reserve.examples.miniredis.commands`) are functions of a database (:mod:`~reserve.examples.miniredis.database`);
a :class:`~reserve.examples.miniredis.session.Session` joins them with a connection that parks. Nothing is written to a
disk, there are no passwords, and every client that can connect can read and change everything.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from reserve.examples.miniredis.resp import Limits
from reserve.examples.miniredis.session import MiniRedis

__all__ = ["ARGUMENTS", "launch"]

ARGUMENTS = """\
--max-memory BYTES     of all keys and values, and 100 for each (default 268435456)
--max-value BYTES      of one string (default 524288)
--max-arguments N      of one command (default 4096)
--max-command BYTES    of all strings of one command (default 4194304)
"""


def launch(args: Sequence[str]) -> MiniRedis:
    """Make the handler, with an empty database.

    :param args: the program, then the arguments in :data:`ARGUMENTS`.
    :raises SystemExit: others.
    """
    defaults = Limits()
    parser = argparse.ArgumentParser(prog=args[0])
    parser.add_argument("--max-memory", type=int, default=268435456, metavar="BYTES")
    parser.add_argument("--max-value", type=int, default=defaults.value, metavar="BYTES")
    parser.add_argument("--max-arguments", type=int, default=defaults.arguments, metavar="N")
    parser.add_argument("--max-command", type=int, default=defaults.command, metavar="BYTES")
    options = parser.parse_args(args[1:])
    if min(vars(options).values()) < 1:
        parser.error("each limit is 1 or more")
    limits = Limits(value=options.max_value, arguments=options.max_arguments, command=options.max_command)
    return MiniRedis(limits, options.max_memory)
