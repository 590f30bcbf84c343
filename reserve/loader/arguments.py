"""The argument of ``launch(args)``: a list of str that also knows how the command line was written.

Runs on the main thread at start; imports nothing of reserve but the errors and the suggestions. Reserve's own
applications use what the list knows; any other application gets a plain list of str.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reserve.errors import Correction, UsageError
from reserve.loader.otherservers import BY_NAME, converted
from reserve.suggest import nearest

__all__ = ["Arguments", "correct_options", "nearest_flag", "option_hint", "unknown_option"]


_OF_APPLICATIONS = {
    "--mount": "it is an argument of the protocols that host WSGI: reserve app http wsgi NAME --mount /PREFIX=NAME",
    "--websocket": "it is an argument of one application: reserve app http wsgi NAME --websocket /PATH=NAME",
}
"""Options of some applications of reserve, which users write with another one."""


def nearest_flag(argument: str, flags: Iterable[str]) -> str | None:
    """The long flag that an argument resembles, or None.

    The number of dashes, the case, ``_`` in place of ``-``, and an attached value make no difference.
    """
    names = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    name = argument.partition("=")[0].lstrip("-").lower().replace("_", "-")
    match = nearest(name, names) if len(name) > 1 else None
    return None if match is None else names[match]


def unknown_option(argument: str, flags: Iterable[str], words: Sequence[str] = (), *, more: str = "") -> UsageError:
    """The error about a server option that does not exist.

    :param flags: the options that exist.
    :param words: the last arguments before ``--``, ``argument`` among them, which a correction replaces.
    :param more: another clause, for the end of the text.
    """
    flags = tuple(flags)
    why, hint = option_hint(argument, flags)
    hint = hint or ("" if why else "; reserve --help-all lists them")
    separator = " " if hint.endswith("?") else "; "
    reason = f"there is no server option {argument}{why}"
    return UsageError(reason, hint + (separator + more if more else ""), correct_options(words, flags))


def correct_options(words: Sequence[str], flags: Iterable[str]) -> Correction | None:
    """What was probably meant by arguments with options that do not exist; None: unknown.

    :param words: the last arguments before ``--``.
    """
    flags = tuple(flags)
    right = converted(words, lambda argument: nearest_flag(argument, flags)) if words else None
    return None if right is None else Correction(wrong=tuple(words), right=tuple(right), last=True)


def option_hint(argument: str, flags: Iterable[str]) -> tuple[str, str]:
    """What is said of an option that does not exist: how reserve differs, and what was probably meant.

    Each is a clause with its semicolon, or empty.
    """
    name = argument.partition("=")[0]
    if name in _OF_APPLICATIONS:
        return f"; {_OF_APPLICATIONS[name]}", ""
    entry = BY_NAME.get(name if name.startswith("--") else name[:2])
    if entry is not None and entry.ours and not entry.value and not entry.is_flag:
        # The proposed line leaves the option out, so the text has to name ours.
        return f"{entry.why and f'; {entry.why}'}; the nearest is {entry.ours}", ""
    if entry is not None:
        return entry.why and f"; {entry.why}", entry.ours and f"; write {entry.ours}"
    match = nearest_flag(argument, flags)
    return "", f"; did you mean {match}?" if match else ""


class Arguments(list[str]):
    """``[program so far, arguments before --, arguments after --]``, as ``["reserve http wsgi blog", "--colour",
    "red"]``.

    One belongs to one ``launch``, on the main thread.

    :param arguments: the items of the list. In a plain list that an embedding program gives to ``launch``, all count as
        before ``--``.
    :param literal: how many of the last arguments stood after the first bare ``--``.
    :param reserved: the server options, which an argument before ``--`` must not resemble.
    :param served: lines of the start banner that describe what is served; a launching application appends to it.
    """

    def __init__(
        self,
        arguments: Iterable[str],
        *,
        literal: int = 0,
        reserved: Iterable[str] = (),
        served: list[str] | None = None,
    ) -> None:
        super().__init__(arguments)
        self.literal = literal
        self.reserved = tuple(reserved)
        self.served: list[str] = [] if served is None else served

    @classmethod
    def of(cls, args: Sequence[str]) -> Arguments:
        """``args`` itself if it is an :class:`Arguments`, else a new one made of the plain list."""
        return args if isinstance(args, Arguments) else cls(args)

    @property
    def before(self) -> list[str]:
        """The arguments before ``--``, without the program."""
        return self[1 : len(self) - self.literal]

    @property
    def after(self) -> list[str]:
        """The arguments after ``--``."""
        return self[len(self) - self.literal :]

    def derive(self, name: str, before: Iterable[str], after: Iterable[str], reserved: Iterable[str] = ()) -> Arguments:
        """The arguments of an application that this application hosts.

        :param name: what is added to the program so far.
        :param reserved: options of this application, in addition to those of the server.
        """
        after = tuple(after)
        return Arguments(
            [f"{self[0]} {name}", *before, *after],
            literal=len(after),
            reserved=(*self.reserved, *reserved),
            served=self.served,
        )

    def refuse_misspelt_options(self) -> None:
        """Refuse an argument before ``--`` that resembles a reserved option: most such arguments are misspelt.

        :raises UsageError: there is one.
        """
        for argument in self.before:
            match = nearest_flag(argument, self.reserved) if argument.startswith("-") else None
            if match is not None:
                raise UsageError(f"there is no option {argument}; did you mean {match}? put it after -- to pass it on")

    def refuse_rest(self, name: str) -> None:
        """Refuse all arguments, for an application that takes none.

        :param name: the application, for the message.
        :raises UsageError: there are arguments.
        """
        for argument in self.before:
            # The application has no options, so an argument with a dash is meant as a server option.
            if argument.startswith("-") and len(argument) > 1:
                more = f"{name} takes no arguments of its own"
                # The name as the user wrote it, because some options change it: --factory.
                words = [self[0].rpartition(" ")[2], *self.before]
                raise unknown_option(argument, self.reserved, words, more=more)
        if len(self) > 1:
            before = tuple(self.before)
            if not {"-h", "--help"}.isdisjoint(self.after):
                end: tuple[str, ...] = ("-h",)
            elif before and before[-1].isdecimal():
                end = ("--bind", f"localhost:{before[-1]}")
            else:
                end = ()
            raise UsageError(
                f"{name} takes no arguments, but it was given {' '.join(self[1:])}",
                correction=Correction(wrong=before, last=True, end=end, drop_after=True),
            )
