"""Levels for systemd-journald, which takes each line as an entry of the level INFO, unless it begins with another one,
as in sd-daemon(3).

While a stream is the one that ``JOURNAL_STREAM`` names (systemd.exec(5)), each line that is written to it begins with
its level. That also keeps the text of an exception, which may be a client's, from choosing one. Any thread may call
this.
"""

from __future__ import annotations

import logging
import os
import re
import stat

__all__ = ["is_journal", "journal_stream", "with_level"]

_PREFIXES = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
    (logging.NOTSET, "<7>"),
)
"""For the levels of :mod:`logging`, from each of these on: those of syslog (RFC 5424 section 6.2.1)."""


def journal_stream() -> tuple[int, int] | None:
    """Device and inode of the stream to journald, from the environment variable; None: there is none."""
    found = re.fullmatch(r"([0-9]{1,20}):([0-9]{1,20})", os.environ.get("JOURNAL_STREAM", ""))
    return None if found is None else (int(found[1]), int(found[2]))


def is_journal(fd: int) -> bool:
    """Whether a descriptor is that stream, now."""
    journal = journal_stream()
    if journal is None:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISSOCK(status.st_mode) and (status.st_dev, status.st_ino) == journal


def with_level(level: int, text: str) -> str:
    """A text of one or more lines, each with its level.

    :param level: as in :mod:`logging`.
    """
    prefix = next((prefix for least, prefix in _PREFIXES if level >= least), "<7>")
    return "\n".join([prefix + line for line in text.split("\n")])
