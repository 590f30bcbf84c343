"""What ``launch(args)`` gets: a flat list of str that bundled applications may also ask about the command line.

Runs on the main thread at start; imports only the errors. An application of somebody else sees a plain list of str.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from reserve.errors import UsageError

__all__ = ["Arguments", "hint_for_option", "nearest", "nearest_flag", "unknown_option"]

_THREADS = "reserve works with threads; write --threads N"
_ADDRESS = "write --bind HOST:PORT"
_ELSEWHERE = {
    "-w": _THREADS,
    "--workers": _THREADS,
    "--worker-class": "reserve has one kind of workers: threads",
    "--timeout": "write --request-timeout for how long a request may run, --keep-alive for idle connections",
    "--graceful-timeout": "write --stop-timeout",
    "--reload": "reserve does not watch files; start it again",
    "-p": _ADDRESS,
    "--port": _ADDRESS,
    "--host": _ADDRESS,
    "--listen": _ADDRESS,
    "--certfile": "write --tls-cert",
    "--keyfile": "write --tls-key",
    "-D": "sdlaunch -d runs it in the background",
    "--daemon": "sdlaunch -d runs it in the background",
}
"""What people who come from other servers write, and what does the same here."""


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that ``word`` was most likely meant to be, or None."""
    matches = difflib.get_close_matches(word, list(names), n=1, cutoff=0.8)
    return matches[0] if matches else None


def nearest_flag(word: str, flags: Iterable[str]) -> str | None:
    """The same for a dashed word: the number of dashes, ``_`` for ``-``, case and an attached value do not count."""
    bare = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    name = word.partition("=")[0].lstrip("-").lower().replace("_", "-")
    found = nearest(name, bare) if len(name) > 1 else None
    return None if found is None else bare[found]


def unknown_option(word: str, flags: Iterable[str]) -> str:
    """What to tell somebody who gave a server option that does not exist; ``flags`` are those that do."""
    return f"there is no server option {word}; {hint_for_option(word, flags) or 'reserve -h lists them'}"


def hint_for_option(word: str, flags: Iterable[str]) -> str:
    """What was probably meant by an option that does not exist, or an empty text."""
    dashed = word.partition("=")[0]
    other = _ELSEWHERE.get(dashed if dashed.startswith("--") else dashed[:2])
    near = None if other else nearest_flag(word, flags)
    return other or (f"did you mean {near}?" if near else "")


class Arguments(list[str]):
    """``[program so far, what was left before --, everything after --]``.

    For example ``["reserve http wsgi blog", "--colour", "red"]``.

    :param words: the list itself; a plain list given to ``launch`` by an embedding program counts as "before --".
    :param literal: how many of the last words stood right of the first bare ``--``.
    :param reserved: the server's options, which a word left of ``--`` must not resemble.
    :param served: lines for the start banner that say what is served; launching applications append to it.
    """

    def __init__(
        self,
        words: Iterable[str],
        *,
        literal: int = 0,
        reserved: Iterable[str] = (),
        served: list[str] | None = None,
    ) -> None:
        super().__init__(words)
        self.literal = literal
        self.reserved = tuple(reserved)
        self.served: list[str] = [] if served is None else served

    @classmethod
    def of(cls, args: Sequence[str]) -> Arguments:
        """``args`` itself when it is one already, else one made of a plain list."""
        return args if isinstance(args, Arguments) else cls(args)

    @property
    def before(self) -> list[str]:
        """The words left of ``--``, without the program."""
        return self[1 : len(self) - self.literal]

    @property
    def after(self) -> list[str]:
        """The words right of ``--``."""
        return self[len(self) - self.literal :]

    def derive(self, name: str, before: Iterable[str], after: Iterable[str], reserved: Iterable[str] = ()) -> Arguments:
        """The arguments of an application that this one hosts: ``name`` joins the program so far."""
        after = tuple(after)
        return Arguments(
            [f"{self[0]} {name}", *before, *after],
            literal=len(after),
            reserved=(*self.reserved, *reserved),
            served=self.served,
        )

    def refuse_lookalikes(self) -> None:
        """A dashed word left of ``--`` that resembles an option is a mistake far more often than the application's own.

        :raises UsageError: there is one.
        """
        for word in self.before:
            near = nearest_flag(word, self.reserved) if word.startswith("-") else None
            if near is not None:
                raise UsageError(f"there is no option {word}; did you mean {near}? put it after -- to pass it on")

    def refuse_rest(self, what: str) -> None:
        """``what`` takes no arguments.

        :raises UsageError: there are some.
        """
        for word in self.before:
            # Nobody else is there whose option it could be.
            if word.startswith("-") and len(word) > 1:
                hint = unknown_option(word, self.reserved)
                raise UsageError(f"{hint}{'' if hint.endswith('?') else ';'} {what} takes no arguments of its own")
        if len(self) > 1:
            raise UsageError(f"{what} takes no arguments, but it was given {' '.join(self[1:])}")
