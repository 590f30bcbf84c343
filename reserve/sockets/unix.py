"""UNIX sockets in the file system: who may connect, whose stale file may be replaced, and who removes it at the end.

Runs once at start and once at stop, on the thread that opens and closes the listeners. It guarantees that a socket of
somebody who still listens is never taken away, that nothing but a dead socket is ever unlinked, and that there is no
moment in which the socket can be connected to with wider rights than were asked for.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys

from reserve.errors import StartupError, UsageError

__all__ = ["UNIXListener", "bind_path", "find_owner", "release"]

_Identity = tuple[int, int]


class UNIXListener(socket.socket):
    """A listener that remembers the file which its ``bind`` created, so that :func:`release` can remove it."""

    __slots__ = ("created",)
    created: tuple[str, _Identity, int] | None
    """Absolute path, identity of the file, and the process that made it: a forked copy must not remove it."""


def bind_path(sock: UNIXListener, path: str, *, mode: int | None, owner: tuple[int, int] | None) -> None:
    """Bind to a path, in place of a dead socket if there is one, with these rights.

    :param mode: permission bits of the file (``0o660``). None: what the umask leaves of ``0o777``.
    :param owner: user and group number, -1 for "as it is".
    :raises StartupError: somebody listens there, it is no socket, or it cannot be proven dead.
    :raises OSError: from ``bind`` itself.
    """
    _remove_stale(path)
    sock.created = None
    if mode is None and owner is None:
        sock.bind(path)
    else:
        _bind_private(sock, path)
    # The working directory may change before the file is removed.
    sock.created = (os.path.abspath(path), _identity(os.lstat(path)), os.getpid())
    if mode is None and owner is not None:
        mode = 0o777 & ~_umask()
    if owner is not None:
        try:
            os.chown(path, *owner, follow_symlinks=False)
        except PermissionError as exc:
            raise StartupError(
                f"cannot give unix:{path} to user {owner[0]}, group {owner[1]}: {exc.strerror}. "
                "Only root, or a member of that group, may; start as root or change --unix-owner."
            ) from exc
    if mode is not None:
        os.chmod(path, mode)


def release(sock: socket.socket) -> None:
    """Close a listener, and first remove the file that opening it created.

    The file stays when another process made it, when it is no longer the same file, or when it is already gone.
    Closing twice does nothing.
    """
    created = getattr(sock, "created", None)
    try:
        if isinstance(sock, UNIXListener) and created is not None:
            sock.created = None
            path, identity, pid = created
            # The open socket holds on to its inode, so the number cannot belong to another file yet.
            found = _lstat(path)
            if pid == os.getpid() and found is not None and _identity(found) == identity:
                os.unlink(path)
    finally:
        sock.close()


def find_owner(text: str) -> tuple[int, int]:
    """Translate ``user``, ``user:group`` or ``:group`` (names or numbers) to numbers; -1 means "as it is".

    :raises UsageError: no such user or group, or a system without them.
    """
    try:
        import grp
        import pwd
    except ImportError as exc:
        raise UsageError("this system has no users and groups for --unix-owner; leave the option out") from exc
    user, colon, group = text.partition(":")
    if not user and not group:
        raise UsageError(f"--unix-owner {text!r} names nobody; write USER, USER:GROUP or :GROUP")
    if colon and not group:
        raise UsageError(f"--unix-owner {text!r} has no group after the colon; write USER, USER:GROUP or :GROUP")
    uid = gid = -1
    try:
        if user:
            uid = int(user) if user.isascii() and user.isdigit() else pwd.getpwnam(user).pw_uid
        if group:
            gid = int(group) if group.isascii() and group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as exc:
        what = f"group {group!r}" if uid != -1 or not user else f"user {user!r}"
        raise UsageError(f"--unix-owner {text!r}: this system has no {what}") from exc
    if uid > 0xFFFFFFFE or gid > 0xFFFFFFFE:
        raise UsageError(f"--unix-owner {text!r}: a user or group number has at most 32 bits")
    return uid, gid


def _bind_private(sock: socket.socket, path: str) -> None:
    if sys.platform == "linux":
        # The kernel gives the file the mode of the unbound socket. Unlike the umask, which belongs to the whole
        # process, this touches nothing of a program that embeds us.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        return
    before = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _umask() -> int:
    # There is no call that only reads it; Linux shows it in a file, which spares other threads the moment of 0o077.
    if sys.platform == "linux":
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as status:
                for line in status:
                    if line.startswith("Umask:"):
                        return int(line.split()[1], 8)
        except OSError:  # no /proc in a sandbox: the portable way below
            pass
    value = os.umask(0o077)
    os.umask(value)
    return value


def _remove_stale(path: str) -> None:
    found = _lstat(path)
    if found is None:
        return  # Nothing there, or no way to it: bind says which.
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(
            f"cannot listen on unix:{path}: a file that is no socket is in the way. "
            "Move it away, or choose another path."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # A listener with a full backlog would let a blocking connect wait for ever.
        code = probe.connect_ex(path)
    if code == errno.ENOENT:
        return
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        raise StartupError(
            f"cannot listen on unix:{path}: another process listens there. Stop it, or choose another path."
        )
    if code != errno.ECONNREFUSED:
        raise StartupError(
            f"cannot listen on unix:{path}: a socket is there and it cannot be told whether somebody uses it "
            f"({os.strerror(code)}). Remove it if nobody does, or choose another path."
        )
    again = _lstat(path)
    # The change time too, because the number of a removed inode is used again at once on some file systems.
    if again is not None and (_identity(again), again.st_ctime_ns) == (_identity(found), found.st_ctime_ns):
        os.unlink(path)  # Else another process was quicker, and bind will say so.


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
