"""The files of UNIX sockets: creating them with the right permissions, replacing a stale one, and removing them.

Runs at start and at stop, on the thread that opens and closes the listeners. It guarantees that a socket on which
another process listens is never replaced; that no other file than a stale socket is removed; and that at no time a user
can connect whom the final permissions keep out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Callable

from reserve.errors import StartupError, UsageError

__all__ = ["UNIXListener", "bind_path", "change_mode", "find_owner", "has_file", "release"]

_Identity = tuple[int, int]
"""The device and the inode number of a file."""


class UNIXListener(socket.socket):
    """A listener that knows the file which its ``bind`` has created, so that :func:`release` can remove the file.

    The server owns it. The thread that opens and closes the listeners uses ``created``.
    """

    __slots__ = ("created",)
    created: tuple[str, _Identity, int] | None
    """The absolute path, the identity of the file, and the process that created it. A child must not remove it."""


def bind_path(sock: UNIXListener, path: str, *, mode: int | None, owner: tuple[int, int] | None) -> None:
    """Bind to a path; a stale socket at that path is replaced.

    :param mode: permission bits of the file (``0o660``). None: what the umask leaves of ``0o777``.
    :param owner: user and group number, -1 for no change. None: neither is changed.
    :raises StartupError: another process listens there, or the path is not a socket, or it may be in use.
    :raises OSError: from ``bind`` itself.
    """
    _remove_stale(path)
    sock.created = None
    if mode is None and owner is None:
        sock.bind(path)
    else:
        _bind_private(sock, path)
    status = os.lstat(path)
    # The directory may belong to a user who may less than this process, and who has exchanged the file meanwhile.
    if not stat.S_ISSOCK(status.st_mode) or (owner is not None and os.geteuid() == 0 and status.st_uid != 0):
        raise StartupError(f"cannot listen on unix:{path}: another process has replaced the socket at this moment")
    # The working directory may change before the file is removed.
    sock.created = (os.path.abspath(path), _identity(status), os.getpid())
    if mode is None and owner is not None:
        mode = 0o777 & ~_umask()
    if owner is not None:
        try:
            _change(sock, lambda file: os.chown(file, *owner))
        except PermissionError as exc:
            raise StartupError(
                f"cannot give unix:{path} to user {owner[0]}, group {owner[1]}: {exc.strerror}. "
                "Only root, or a member of that group, may; start as root or change --unix-owner."
            ) from exc
    if mode is not None:
        change_mode(sock, mode)


def has_file(sock: UNIXListener) -> bool:
    """Whether the file that ``bind`` has created is still there, so that clients can connect."""
    if sock.created is None:
        return False
    status = _lstat(sock.created[0])
    return status is not None and _identity(status) == sock.created[1]


def change_mode(sock: UNIXListener, mode: int) -> None:
    """Change the permissions of the file that ``bind`` has created. One that has taken its place, and what it leads to
    if it is a symbolic link, is left alone: its directory may belong to a user who may less than this process.

    :raises OSError: the file is not there any more, or its permissions cannot be changed.
    """
    _change(sock, lambda file: os.chmod(file, mode))


def _change(sock: UNIXListener, change: Callable[[str], None]) -> None:
    """Change the file that ``bind`` has created, and no other one.

    :param change: called with a path that leads to it, which may be a symbolic link.
    """
    assert sock.created is not None
    path, identity, _ = sock.created
    if not hasattr(os, "O_PATH"):
        if not has_file(sock):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        change(path)
        return
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if _identity(os.fstat(fd)) != identity:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            change(f"/proc/self/fd/{fd}")  # fchmod(2) and fchown(2) take no such descriptor
        except FileNotFoundError:  # no /proc in a sandbox
            change(path)
    finally:
        os.close(fd)


def release(sock: socket.socket) -> None:
    """Close a listener, and remove the file that was created when it was opened.

    The file stays if another process has created it, if another file has taken its place, or if the process may not
    remove it any more. A second call does nothing.
    """
    created = getattr(sock, "created", None)
    try:
        if isinstance(sock, UNIXListener) and created is not None:
            sock.created = None
            path, identity, pid = created
            # As long as the socket is open, no other file can get its inode number.
            status = _lstat(path)
            if pid == os.getpid() and status is not None and _identity(status) == identity:
                with contextlib.suppress(PermissionError):  # the process has changed its user: the next start does it
                    os.unlink(path)
    finally:
        with contextlib.suppress(OSError):  # another part of the program has closed it
            sock.close()


def find_owner(text: str) -> tuple[int, int]:
    """Translate ``user``, ``user:group`` or ``:group`` (names or numbers) to numbers; -1 means no change.

    :raises UsageError: there is no such user or group, or the system has none.
    """
    try:
        import grp
        import pwd
    except ImportError as exc:
        raise UsageError("this system has no users and groups for --unix-owner; leave the option out") from exc
    user, colon, group = text.partition(":")
    if not user and not group:
        raise UsageError(f"--unix-owner {text!r} is empty; write USER, USER:GROUP or :GROUP")
    if colon and not group:
        raise UsageError(f"--unix-owner {text!r} has no group after the colon; write USER, USER:GROUP or :GROUP")
    uid = gid = -1
    try:
        if user:
            uid = int(user) if user.isascii() and user.isdigit() else pwd.getpwnam(user).pw_uid
        if group:
            gid = int(group) if group.isascii() and group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as exc:
        missing = f"group {group!r}" if uid != -1 or not user else f"user {user!r}"
        raise UsageError(f"--unix-owner {text!r}: this system has no {missing}") from exc
    if uid > 0xFFFFFFFE or gid > 0xFFFFFFFE:
        raise UsageError(f"--unix-owner {text!r}: a user or group number has at most 32 bits")
    return uid, gid


def _bind_private(sock: socket.socket, path: str) -> None:
    if sys.platform == "linux":
        # The kernel gives the file the mode of the unbound socket. The umask belongs to the whole process, and so to
        # the program that embeds the server: it is not changed.
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(path)
        return
    before = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(before)


def _umask() -> int:
    # No system call only reads the umask. Linux shows it in a file, so that other threads never see 0o077.
    if sys.platform == "linux":
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as status:
                for line in status:
                    if line.startswith("Umask:"):
                        return int(line.split()[1], 8)
        except OSError:  # no /proc in a sandbox
            pass
    value = os.umask(0o077)
    os.umask(value)
    return value


def _remove_stale(path: str) -> None:
    status = _lstat(path)
    if status is None:
        return  # no such file or directory: bind reports which
    if not stat.S_ISSOCK(status.st_mode):
        raise StartupError(
            f"cannot listen on unix:{path}: there is a file that is not a socket. Move it, or choose another path."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a blocking connect would wait as long as the backlog of the other process is full
        code = probe.connect_ex(path)
    if code == errno.ENOENT:
        return
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        raise StartupError(
            f"cannot listen on unix:{path}: another process listens there. Stop it, or choose another path."
        )
    if code != errno.ECONNREFUSED:
        raise StartupError(
            f"cannot listen on unix:{path}: there is a socket, and it is unknown whether another process uses it "
            f"({os.strerror(code)}). Remove it if none does, or choose another path."
        )
    current = _lstat(path)
    # The change time too, because some file systems use the inode number of a removed file again at once.
    if current is not None and (_identity(current), current.st_ctime_ns) == (_identity(status), status.st_ctime_ns):
        os.unlink(path)  # else another process has replaced the file, and bind reports that


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
