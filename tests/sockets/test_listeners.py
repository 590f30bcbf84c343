from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import StartupError, UsageError
from reserve.sockets import listeners
from reserve.sockets.listeners import describe, listen, release

Opened = Callable[..., list[socket.socket]]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


@pytest.fixture
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:

        def run(*addresses: str, **options: Any) -> list[socket.socket]:
            found = listen(*addresses, **options)
            for sock in found:
                stack.callback(release, sock)
            return found

        yield run


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name, because the name of a UNIX socket has about 100 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="r") as name:
        yield Path(name)


def _can_connect(family: int, address: Any) -> bool:
    with socket.socket(family) as client:
        client.settimeout(10)
        return client.connect_ex(address) == 0


def test_tcp_is_listening_nonblocking_and_closed_on_exec(opened: Opened) -> None:
    [sock] = opened("127.0.0.1:0")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert not sock.get_inheritable()
    with pytest.raises(BlockingIOError):
        sock.accept()
    assert _can_connect(socket.AF_INET, sock.getsockname())
    assert describe(sock) == f"127.0.0.1:{sock.getsockname()[1]}"


def test_a_port_is_free_again_while_old_connections_linger() -> None:
    [first] = listen("127.0.0.1:0")
    name = first.getsockname()
    with socket.create_connection(name):
        first.setblocking(True)
        first.accept()[0].close()  # the server closes first, so TIME_WAIT stays on its side
    first.close()
    [second] = listen(f"{name[0]}:{name[1]}")
    second.close()


@needs_ipv6
@pytest.mark.parametrize("text", ["[::]:0", ":0"])
def test_all_interfaces_takes_both_families(opened: Opened, text: str) -> None:
    [sock] = opened(text)
    port = sock.getsockname()[1]
    assert describe(sock) == f"[::]:{port}"
    assert _can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert _can_connect(socket.AF_INET6, ("::1", port))


@needs_ipv6
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("everything", ["[::]", ""])
def test_ipv6_and_ipv4_wildcards_beside_each_other_do_not_clash(opened: Opened, order: int, everything: str) -> None:
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", 0))
            port = probe.getsockname()[1]
        pair = [f"{everything}:{port}", f"0.0.0.0:{port}"]
        try:
            found = opened(*(reversed(pair) if order else pair))
        except StartupError:  # somebody else took the port in between
            continue
        break
    assert sorted(map(describe, found)) == [f"0.0.0.0:{port}", f"[::]:{port}"]
    assert _can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert _can_connect(socket.AF_INET6, ("::1", port))


@needs_ipv6
def test_one_ipv6_address_takes_no_ipv4(opened: Opened) -> None:
    [sock] = opened("[::1]:0")
    assert describe(sock) == f"[::1]:{sock.getsockname()[1]}"
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@needs_ipv6
def test_a_mapped_ipv4_address_can_be_opened(opened: Opened) -> None:
    [sock] = opened("[::ffff:127.0.0.1]:0")
    assert _can_connect(socket.AF_INET, ("127.0.0.1", sock.getsockname()[1]))


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *found: tuple[int, tuple[Any, ...]]) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", name) for family, name in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@needs_ipv6
def test_a_name_opens_all_its_addresses_on_one_port(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(
        monkeypatch,
        (socket.AF_INET6, ("::1", 0, 0, 0)),
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET, ("127.0.0.1", 0)),
    )
    found = opened("localhost:0")
    assert [sock.family for sock in found] == [socket.AF_INET6, socket.AF_INET]
    assert len({sock.getsockname()[1] for sock in found}) == 1


def test_a_name_skips_the_addresses_that_are_not_here(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    # 203.0.113.0/24 is reserved for documentation: RFC 5737
    _resolves_to(monkeypatch, (socket.AF_INET, ("203.0.113.1", 0)), (socket.AF_INET, ("127.0.0.1", 0)))
    [sock] = opened("localhost:0")
    assert sock.getsockname()[0] == "127.0.0.1"


def test_a_name_without_any_address_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, (socket.AF_INET, ("203.0.113.1", 80)), (socket.AF_INET, ("203.0.113.2", 80)))
    with pytest.raises(
        StartupError, match="This machine does not have that address; for all of its addresses write :80"
    ):
        listen("elsewhere.example:80")


def test_port_0_tries_again_when_the_second_family_has_it_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.2", 0)))
    real, tried = listeners._bind_tcp, []

    def bind(family: int, name: tuple[Any, ...], backlog: int, *, v6only: bool) -> socket.socket:
        tried.append(name[0])
        if tried == ["127.0.0.1", "127.0.0.2"]:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(family, name, backlog, v6only=v6only)

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    found = listen("localhost:0")
    assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]
    assert len({sock.getsockname()[1] for sock in found}) == 1
    for sock in found:
        sock.close()


def test_without_ipv6_all_interfaces_means_ipv4(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    real = listeners._bind_tcp

    def bind(family: int, name: tuple[Any, ...], backlog: int, *, v6only: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, name, backlog, v6only=v6only)

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    [sock] = opened(":0")
    assert sock.getsockname()[0] == "0.0.0.0"
    with pytest.raises(StartupError, match=r"\[::\]:8080: .* write :8080"):
        listen("[::]:8080")


def test_address_in_use_releases_what_was_open_already(opened: Opened, folder: Path) -> None:
    [sock] = opened("127.0.0.1:0")
    busy = describe(sock)
    with pytest.raises(StartupError, match=f"cannot listen on {busy}: .*stop it, or choose another port"):
        listen("127.0.0.1:0", f"unix:{folder}/x", busy)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "exc", "hint"),
    [
        ("127.0.0.1:80", PermissionError(errno.EACCES, "Permission denied"), "systemd or sdlaunch, started as root"),
        ("127.0.0.1:80", OSError(errno.ENOBUFS, "No buffer space"), "No buffer space. Choose another address."),
    ],
)
def test_other_reasons_of_the_kernel(monkeypatch: pytest.MonkeyPatch, address: str, exc: OSError, hint: str) -> None:
    def bind(*_: Any, **__: Any) -> socket.socket:
        raise exc

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    with pytest.raises(StartupError) as caught:
        listen(address)
    assert hint in str(caught.value)


def test_an_address_of_another_machine() -> None:
    with pytest.raises(StartupError, match="This machine does not have that address"):
        listen("203.0.113.1:8080")


@pytest.mark.parametrize("host", ["host.invalid", "a..b", "x" * 70])
def test_a_host_that_does_not_resolve(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "host.invalid":  # RFC 6761: never resolves, but a resolver may take its time to say so
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(StartupError, match=r"does not resolve .*or :8080 for all of them"):
        listen(f"{host}:8080")


def test_unix_socket_is_there_until_it_is_released(folder: Path) -> None:
    path = folder / "x.sock"
    [sock] = listen(f"unix:{path}")
    assert describe(sock) == f"unix:{path}"
    assert not sock.get_inheritable()
    assert not sock.getblocking()
    assert _can_connect(socket.AF_UNIX, str(path))
    accepted, _ = sock.accept()
    assert type(accepted) is socket.socket
    accepted.close()
    release(sock)
    assert not path.exists()
    assert sock.fileno() == -1
    release(sock)


def test_release_knows_the_path_from_another_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    [sock] = listen("unix:x.sock")
    monkeypatch.chdir("/")
    release(sock)
    assert list(folder.iterdir()) == []


def test_release_removes_after_the_rights_were_changed(folder: Path) -> None:
    [sock] = listen(f"unix:{folder}/x")
    (folder / "x").chmod(0o600)
    release(sock)
    assert list(folder.iterdir()) == []


def test_release_leaves_the_socket_of_a_successor(folder: Path) -> None:
    [old] = listen(f"unix:{folder}/x")
    (folder / "x").unlink()
    [new] = listen(f"unix:{folder}/x")
    release(old)
    assert _can_connect(socket.AF_UNIX, f"{folder}/x")
    release(new)
    assert list(folder.iterdir()) == []


def test_release_in_a_forked_copy_leaves_the_file(folder: Path) -> None:
    [sock] = listen(f"unix:{folder}/x")
    child = os.fork()
    if child == 0:
        try:
            release(sock)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (folder / "x").exists()
    release(sock)


def test_release_of_a_tcp_socket_closes_it() -> None:
    [sock] = listen("127.0.0.1:0")
    release(sock)
    assert sock.fileno() == -1


def test_a_dead_socket_is_replaced(opened: Opened, folder: Path) -> None:
    [dead] = listen(f"unix:{folder}/x")
    dead.close()
    assert not _can_connect(socket.AF_UNIX, f"{folder}/x")
    opened(f"unix:{folder}/x")
    assert _can_connect(socket.AF_UNIX, f"{folder}/x")


def test_a_living_socket_is_not(opened: Opened, folder: Path) -> None:
    opened(f"unix:{folder}/x")
    with pytest.raises(StartupError, match="another process listens there"):
        listen(f"unix:{folder}/x")
    assert _can_connect(socket.AF_UNIX, f"{folder}/x")


def test_a_living_socket_with_a_full_backlog_is_not(opened: Opened, folder: Path) -> None:
    opened(f"unix:{folder}/x", backlog=1)
    with ExitStack() as stack:
        code = 0
        while code == 0:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            code = client.connect_ex(f"{folder}/x")
        with pytest.raises(StartupError, match="another process listens there"):
            listen(f"unix:{folder}/x")
    assert (folder / "x").exists()


def test_a_datagram_socket_is_not(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"{folder}/x")
        with pytest.raises(StartupError, match="unknown whether another process uses it"):
            listen(f"unix:{folder}/x")
    assert (folder / "x").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_not(folder: Path, kind: str) -> None:
    path = folder / "x"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(StartupError, match="there is a file that is not a socket"):
        listen(f"unix:{path}")
    assert os.path.lexists(path)


def test_a_directory_that_is_missing(folder: Path) -> None:
    with pytest.raises(StartupError, match=f"Create the directory {folder}/a/b first"):
        listen(f"unix:{folder}/a/b/x")


def test_a_directory_that_is_a_file(folder: Path) -> None:
    (folder / "a").write_text("")
    with pytest.raises(StartupError, match="is not a directory"):
        listen(f"unix:{folder}/a/x")


@pytest.mark.parametrize("prefix", ["/tmp/", "@"])
def test_a_name_that_is_too_long(prefix: str) -> None:
    with pytest.raises(StartupError, match="about 100 bytes"):
        listen(f"unix:{prefix}{'x' * 120}")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o777, 0o000])
def test_the_mode_is_what_was_asked_for_whatever_the_umask(opened: Opened, folder: Path, mode: int) -> None:
    [_] = opened(f"unix:{folder}/x", unix_mode=mode)
    assert stat.S_IMODE((folder / "x").stat().st_mode) == mode


def test_the_default_mode_follows_the_umask(folder: Path) -> None:
    # The umask belongs to the whole process, so another one tries it.
    program = (
        "import os, sys; os.umask(0o027)\n"
        "from reserve.sockets.listeners import listen, release\n"
        "[sock] = listen('unix:' + sys.argv[1], unix_owner=sys.argv[2] or None)\n"
        "print(oct(os.stat(sys.argv[1]).st_mode & 0o777), oct(os.umask(0)))\n"
        "release(sock)\n"
    )
    for owner in ("", str(os.getuid())):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder / "x"), owner], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == ("0o750 0o27\n", "")


def test_no_moment_with_wider_rights(folder: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    seen: list[tuple[int, bool]] = []
    real = os.chmod

    def chmod(path: str, mode: int) -> None:
        seen.append((stat.S_IMODE(os.stat(path).st_mode), _can_connect(socket.AF_UNIX, path)))
        real(path, mode)

    monkeypatch.setattr(os, "chmod", chmod)
    opened(f"unix:{folder}/x", unix_mode=0o666)
    assert seen == [(0o600, False)]


@needs_root
@pytest.mark.parametrize("owner", ["nobody", "nobody:daemon", ":daemon", "65534:1", "nobody:1"])
def test_the_owner_is_what_was_asked_for(opened: Opened, folder: Path, owner: str) -> None:
    opened(f"unix:{folder}/x", unix_owner=owner, unix_mode=0o660)
    found = (folder / "x").stat()
    user, colon, _ = owner.partition(":")
    assert (found.st_uid, found.st_gid) == (65534 if user else os.getuid(), 1 if colon else os.getgid())
    assert stat.S_IMODE(found.st_mode) == 0o660


def test_an_owner_that_may_not_be_given_leaves_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(StartupError, match="start as root or change --unix-owner"):
        listen(f"unix:{folder}/x", unix_owner="0:0")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("owner", ["", ":", "no-such-user", "0:no-such-group", "0:", "99999999999", ":no-such-group"])
def test_an_owner_that_makes_no_sense(folder: Path, owner: str) -> None:
    with pytest.raises(UsageError, match="unix-owner"):
        listen(f"unix:{folder}/x", unix_owner=owner)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [-1, 0o1777, 660])
def test_a_mode_that_makes_no_sense(folder: Path, mode: int) -> None:
    with pytest.raises(UsageError, match="unix_mode is"):
        listen(f"unix:{folder}/x", unix_mode=mode)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix:@reserve-test"])
@pytest.mark.parametrize("options", [{"unix_mode": 0o660}, {"unix_owner": "root"}])
def test_rights_without_a_file_to_have_them(address: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="for unix:PATH addresses, and there is none"):
        listen(address, **options)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names exist on Linux only")
def test_an_abstract_name(opened: Opened) -> None:
    name = f"reserve-test-{os.getpid()}"
    [sock] = opened(f"unix:@{name}")
    assert describe(sock) == f"unix:@{name}"
    assert _can_connect(socket.AF_UNIX, f"\0{name}")
    with pytest.raises(StartupError, match="Another process uses that name"):
        listen(f"unix:@{name}")


def test_several_at_once_in_order(opened: Opened, folder: Path) -> None:
    found = opened("127.0.0.1:0", f"unix:{folder}/x", "127.0.0.1:0")
    assert [sock.family for sock in found] == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET]


def test_a_given_descriptor_stays_open_when_a_later_address_fails(folder: Path) -> None:
    [sock] = listen("127.0.0.1:0")
    with pytest.raises(StartupError, match="Create the directory"):
        listen(f"fd:{sock.fileno()}", f"unix:{folder}/none/x")
    assert _can_connect(socket.AF_INET, sock.getsockname())
    [again] = listen(f"fd:{sock.fileno()}")
    assert describe(again) == describe(sock)
    sock.detach()
    again.close()


def test_calls_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="at least one address"):
        listen()
    with pytest.raises(UsageError, match="backlog is 0"):
        listen("127.0.0.1:0", backlog=0)
    with pytest.raises(UsageError, match="fd:3 is listed twice"):
        listen("fd:3", "fd:3")


@pytest.mark.parametrize("missing", ["fcntl", "AF_UNIX", "pwd"])
def test_a_system_without_it_can_still_listen_on_tcp(missing: str) -> None:
    program = (
        "import socket, sys\n"
        f"if {missing!r} == 'AF_UNIX': del socket.AF_UNIX\n"
        f"else: sys.modules[{missing!r}] = None\n"
        "from reserve.sockets.listeners import adopt, describe, inherited_sockets, listen, release\n"
        "from reserve.errors import ReserveError\n"
        "import reserve.sdlaunch\n"
        "[sock] = listen('127.0.0.1:0')\n"
        "adopt(sock); describe(sock); inherited_sockets(); release(sock)\n"
        "try: listen('unix:/nowhere/x', unix_owner='root' if 'pwd' in sys.argv else None)\n"
        "except ReserveError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, missing], capture_output=True, text=True, check=False)
    expected = {
        "fcntl": "Create the directory",
        "AF_UNIX": "UNIX sockets are not available here",
        "pwd": "no users and groups",
    }
    assert done.stderr == ""
    assert expected[missing] in done.stdout


@needs_root
def test_a_directory_without_permission(folder: Path) -> None:
    program = (
        "import os, sys; from reserve.sockets.listeners import listen\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: listen('unix:' + sys.argv[1])\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "x")], capture_output=True, text=True, check=False
    )
    assert f"This user may not create files in {folder}" in done.stdout, done
