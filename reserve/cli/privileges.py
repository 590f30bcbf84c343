"""``--user`` and ``--group``: the process gives up the rights of root, for good.

Runs on the main thread of the process that imports the application, after the listeners are open and the certificates
are loaded, and before the import. The kernel changes one thread; the C library changes all threads of the process.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from reserve.errors import Correction, StartupError, UsageError
from reserve.suggest import nearest

if TYPE_CHECKING:
    from reserve.options.sources import Values

__all__ = ["Account", "account", "drop_privileges", "file_owner", "socket_owner"]

_MAX_ID = 0xFFFFFFFE
_USUAL_USERS = ("www-data", "http", "nginx", "nobody")
"""Users that a system may have for servers, for the line that a message proposes."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user and the group that the process changes to. Immutable."""

    uid: int
    """-1: the user stays."""
    gid: int
    name: str = ""
    """Of the user, for the supplementary groups; empty: the system has no such user, only the number."""
    home: str = ""

    @property
    def is_current(self) -> bool:
        """Whether the process has that user and that group already."""
        return self.uid in (-1, os.getuid()) and os.getuid() == os.geteuid() and self.gid == os.getgid() == os.getegid()


def account(values: Values) -> Account | None:
    """The user and the group that the options name; None: they name none.

    :raises UsageError: the system has no such user or group, or a user by number has no group.
    """
    user_text, group_text = cast("str | None", values["user"]), cast("str | None", values["group"])
    if user_text is None and group_text is None:
        return None
    try:
        import pwd
    except ImportError:
        raise UsageError("this system has no users and groups for --user; leave the option out") from None
    if user_text is None:
        return Account(-1, _gid(str(group_text), values.given["group"].source, "--group"))
    source = values.given["user"].source
    user, _, group = user_text.partition(":")
    if group and group_text not in (None, group):
        raise UsageError(f"{source} names the group {group}, and {values.given['group'].source} {group_text}")
    try:
        entry = pwd.getpwuid(_number(user, source)) if user.isdigit() else pwd.getpwnam(user)
    except KeyError:
        if not user.isdigit():
            names = [known.pw_name for known in pwd.getpwall()]
            right = nearest(user, names) or next((name for name in _USUAL_USERS if name in names), "")
            right += f":{group}" if right and group else ""
            correction = Correction(wrong=(user_text,), right=(right,), option="--user") if right else None
            raise UsageError(f"{source}: this system has no user {user!r}", correction=correction) from None
        entry = None
    if group_text is not None:
        gid = _gid(group_text, values.given["group"].source, "--group")
    elif group:
        gid = _gid(group, source, "--user", user)
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise UsageError(
            f"{source}: user {user} has no entry with a group",
            correction=Correction(wrong=(user_text,), right=(f"{user}:{user}",), option="--user"),
        )
    if entry is None:
        return Account(int(user), gid)
    return Account(entry.pw_uid, gid, entry.pw_name, entry.pw_dir)


def drop_privileges(values: Values) -> None:
    """Change to ``--user`` and ``--group``, and make sure that there is no way back. Without them it does nothing.

    The process gets the supplementary groups of the user, and no others. ``HOME``, ``USER`` and ``LOGNAME`` become
    those of the user, as with ``User=`` of systemd, except for what ``--env`` sets.

    :raises UsageError: see :func:`account`.
    :raises StartupError: the process may not change its user, or could change back; the spool directory is not the
        user's.
    """
    target = account(values)
    if target is None:
        return
    if not target.is_current:
        try:
            _change(target)
        except PermissionError:
            given = values.given.get("user") or values.given["group"]
            raise StartupError(
                f"{given.source} {given.value}: only root may change to another user, and this process runs as user "
                f"{os.geteuid()}",
                f"; start it as root, or leave {given.source} out",
                Correction(prefix="sudo"),
            ) from None
        except OSError as error:
            given = values.given.get("user") or values.given["group"]
            raise StartupError(f"{given.source} {given.value}: the system refuses: {error.strerror or error}") from None
    if target.name:
        fixed = dict(cast("tuple[tuple[str, str], ...]", values["env"]))
        for name, text in (("HOME", target.home), ("USER", target.name), ("LOGNAME", target.name)):
            if name not in fixed:
                os.environ[name] = text
    who = target.name or str(os.getuid())
    for path, what in ((os.__file__, "Python"), (__file__, "reserve"), (os.curdir, "the working directory")):
        if not getattr(sys, "frozen", False) and not os.access(path, os.R_OK):
            path = os.path.abspath(path)
            raise StartupError(
                f"user {who} may not read {path}, a part of {what}; what is below /root, say, is for root alone: "
                "install it in another directory, as /opt"
            )
    spool_dir = values["spool_dir"]
    if spool_dir is not None and not os.access(str(spool_dir), os.W_OK | os.X_OK):
        raise StartupError(
            f"{values.given['spool_dir'].source}: {spool_dir} is not a directory that user {who} may write to"
        )


def file_owner(values: Values) -> tuple[int, int] | None:
    """The user and group for whom root creates files; None: no others than those of this process."""
    target = account(values)
    return None if target is None or target.is_current or os.geteuid() != 0 else (target.uid, target.gid)


def socket_owner(values: Values) -> str | None:
    """The owner of the socket files, if ``--unix-owner`` does not say it: the user that the process changes to.

    :returns: as ``--unix-owner``, in numbers; None: the user of this process.
    """
    target = account(values)
    if target is None or target.is_current or os.geteuid() != 0:
        return None
    return f":{target.gid}" if target.uid < 0 else f"{target.uid}:{target.gid}"


def _change(target: Account) -> None:
    if target.name:
        os.initgroups(target.name, target.gid)
    else:
        os.setgroups([target.gid])
    os.setgid(target.gid)
    if target.uid < 0:
        return
    os.setuid(target.uid)
    if target.uid == 0:
        return
    for undo in (os.setuid, os.setgid):
        try:
            undo(0)
        except PermissionError:
            continue
        if undo is os.setuid or target.gid != 0:
            raise StartupError(
                f"the process has changed to user {target.uid}, but could change back to root; it must not have the "
                "capabilities CAP_SETUID and CAP_SETGID, nor the securebit no-setuid-fixup"
            )


def _gid(text: str, source: str, option: str, user: str = "") -> int:
    import grp

    if text.isdigit():
        return _number(text, source)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        match = nearest(text, [known.gr_name for known in grp.getgrall()])
        before = f"{user}:" if user else ""
        right = f"{before}{match}" if match else user
        correction = Correction(wrong=(f"{before}{text}",), right=(right,), option=option) if right else None
        raise UsageError(f"{source}: this system has no group {text!r}", correction=correction) from None


def _number(text: str, source: str) -> int:
    if not text.isascii() or len(text) > 10 or int(text) > _MAX_ID:
        raise UsageError(f"{source}: {text:.20} is too large for the number of a user or group")
    return int(text)
