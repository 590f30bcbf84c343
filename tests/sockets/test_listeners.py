"""Opening TCP listeners and several addresses at once, and the messages about addresses that cannot be opened."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reserve.errors import StartupError, UsageError
from reserve.sockets import listeners
from reserve.sockets.listeners import describe, listen, release
from tests.sockets.conftest import OpenListeners
from tests.sockets.connecting import can_connect


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def test_a_tcp_listener_is_non_blocking_and_closed_on_exec(open_listeners: OpenListeners) -> None:
    [sock] = open_listeners("127.0.0.1:0")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert not sock.get_inheritable()
    with pytest.raises(BlockingIOError):
        sock.accept()
    assert can_connect(socket.AF_INET, sock.getsockname())
    assert describe(sock) == f"127.0.0.1:{sock.getsockname()[1]}"


@needs_ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_a_host_and_a_port_are_accepted_as_a_pair(open_listeners: OpenListeners, host: str) -> None:
    [sock] = open_listeners((host, 0))
    assert sock.getsockname()[0] == (host or "::")


@pytest.mark.parametrize("wrong", [("127.0.0.1",), ("a", "b"), (3, 4), ("a", True), 5, None, b"a:1", ["a", 1]])
def test_what_is_neither_a_text_nor_a_pair_is_no_address(wrong: Any) -> None:
    with pytest.raises(
        UsageError, match=r"an address is a text, as '127\.0\.0\.1:8080', or a pair \(host, port\), not "
    ):
        listen(wrong)


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
def test_all_interfaces_accepts_ipv4_and_ipv6(open_listeners: OpenListeners, text: str) -> None:
    [sock] = open_listeners(text)
    port = sock.getsockname()[1]
    assert describe(sock) == f"[::]:{port}"
    assert can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert can_connect(socket.AF_INET6, ("::1", port))


@needs_ipv6
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("everything", ["[::]", ""])
def test_the_wildcards_of_ipv6_and_ipv4_can_share_a_port(
    open_listeners: OpenListeners, order: int, everything: str
) -> None:
    for _ in range(20):
        with socket.socket() as probe:
            probe.bind(("0.0.0.0", 0))
            port = probe.getsockname()[1]
        pair = [f"{everything}:{port}", f"0.0.0.0:{port}"]
        try:
            sockets = open_listeners(*(reversed(pair) if order else pair))
        except StartupError:  # another process took the port in between
            continue
        break
    assert sorted(map(describe, sockets)) == [f"0.0.0.0:{port}", f"[::]:{port}"]
    assert can_connect(socket.AF_INET, ("127.0.0.1", port))
    assert can_connect(socket.AF_INET6, ("::1", port))


@needs_ipv6
def test_one_ipv6_address_does_not_accept_ipv4(open_listeners: OpenListeners) -> None:
    [sock] = open_listeners("[::1]:0")
    assert describe(sock) == f"[::1]:{sock.getsockname()[1]}"
    assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@needs_ipv6
def test_a_mapped_ipv4_address_can_be_opened(open_listeners: OpenListeners) -> None:
    [sock] = open_listeners("[::ffff:127.0.0.1]:0")
    assert can_connect(socket.AF_INET, ("127.0.0.1", sock.getsockname()[1]))


def _resolves_to(monkeypatch: pytest.MonkeyPatch, *results: tuple[int, tuple[Any, ...]]) -> None:
    """Let getaddrinfo return these families and addresses."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", name) for family, name in results]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@needs_ipv6
def test_a_name_opens_all_its_addresses_on_one_port(
    open_listeners: OpenListeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolves_to(
        monkeypatch,
        (socket.AF_INET6, ("::1", 0, 0, 0)),
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET, ("127.0.0.1", 0)),
    )
    sockets = open_listeners("localhost:0")
    assert [sock.family for sock in sockets] == [socket.AF_INET6, socket.AF_INET]
    assert len({sock.getsockname()[1] for sock in sockets}) == 1


def test_a_name_skips_addresses_of_other_machines(
    open_listeners: OpenListeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 203.0.113.0/24 is reserved for documentation: RFC 5737
    _resolves_to(monkeypatch, (socket.AF_INET, ("203.0.113.1", 0)), (socket.AF_INET, ("127.0.0.1", 0)))
    [sock] = open_listeners("localhost:0")
    assert sock.getsockname()[0] == "127.0.0.1"


def test_a_name_without_an_address_of_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, (socket.AF_INET, ("203.0.113.1", 80)), (socket.AF_INET, ("203.0.113.2", 80)))
    with pytest.raises(
        StartupError, match="This machine does not have that address; for all of its addresses write :80"
    ):
        listen("elsewhere.example:80")


def test_port_0_is_tried_again_if_the_port_is_in_use_on_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolves_to(monkeypatch, (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.2", 0)))
    real, tried = listeners._bind_tcp, []

    def bind(family: int, name: tuple[Any, ...], backlog: int, *, v6only: bool) -> socket.socket:
        tried.append(name[0])
        if tried == ["127.0.0.1", "127.0.0.2"]:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return real(family, name, backlog, v6only=v6only)

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    sockets = listen("localhost:0")
    assert tried == ["127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"]
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    for sock in sockets:
        sock.close()


def test_without_ipv6_all_interfaces_means_ipv4(open_listeners: OpenListeners, monkeypatch: pytest.MonkeyPatch) -> None:
    real = listeners._bind_tcp

    def bind(family: int, name: tuple[Any, ...], backlog: int, *, v6only: bool) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, name, backlog, v6only=v6only)

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    [sock] = open_listeners(":0")
    assert sock.getsockname()[0] == "0.0.0.0"
    with pytest.raises(StartupError, match=r"\[::\]:8080: .* write :8080"):
        listen("[::]:8080")


def test_after_an_address_in_use_the_other_listeners_are_closed(
    open_listeners: OpenListeners, short_path: Path
) -> None:
    [sock] = open_listeners("127.0.0.1:0")
    busy = describe(sock)
    with pytest.raises(StartupError, match=f"cannot listen on {busy}: .*stop it, or choose another port"):
        listen("127.0.0.1:0", f"unix:{short_path}/x", busy)
    assert list(short_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "exc", "hint"),
    [
        ("127.0.0.1:80", PermissionError(errno.EACCES, "Permission denied"), "systemd or sdlaunch, started as root"),
        ("127.0.0.1:80", OSError(errno.ENOBUFS, "No buffer space"), "No buffer space. Choose another address."),
    ],
)
def test_the_reason_of_the_kernel_is_reported_with_advice(
    monkeypatch: pytest.MonkeyPatch, address: str, exc: OSError, hint: str
) -> None:
    def bind(*_: Any, **__: Any) -> socket.socket:
        raise exc

    monkeypatch.setattr(listeners, "_bind_tcp", bind)
    with pytest.raises(StartupError) as caught:
        listen(address)
    assert hint in str(caught.value)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupError, match="This machine does not have that address"):
        listen("203.0.113.1:8080")


@pytest.mark.parametrize("host", ["host.invalid", "a..b", "x" * 70])
def test_a_host_that_does_not_resolve_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "host.invalid":  # RFC 6761: never resolves, but a resolver may take its time to say so
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(StartupError, match=r"does not resolve .*or :8080 for all of them"):
        listen(f"{host}:8080")


def test_release_closes_a_tcp_listener() -> None:
    [sock] = listen("127.0.0.1:0")
    release(sock)
    assert sock.fileno() == -1


def test_listeners_are_returned_in_the_order_of_the_addresses(open_listeners: OpenListeners, short_path: Path) -> None:
    sockets = open_listeners("127.0.0.1:0", f"unix:{short_path}/x", "127.0.0.1:0")
    assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET]


def test_a_descriptor_stays_open_if_a_later_address_fails(short_path: Path) -> None:
    [sock] = listen("127.0.0.1:0")
    with pytest.raises(StartupError, match="Create the directory"):
        listen(f"fd:{sock.fileno()}", f"unix:{short_path}/none/x")
    assert can_connect(socket.AF_INET, sock.getsockname())
    [again] = listen(f"fd:{sock.fileno()}")
    assert describe(again) == describe(sock)
    sock.detach()
    again.close()


def test_a_call_without_address_or_with_a_duplicate_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one address"):
        listen()
    with pytest.raises(UsageError, match="backlog is 0"):
        listen("127.0.0.1:0", backlog=0)
    with pytest.raises(UsageError, match="fd:3 is listed twice"):
        listen("fd:3", "fd:3")


@pytest.mark.parametrize("missing", ["fcntl", "AF_UNIX", "pwd"])
def test_a_system_without_a_module_can_listen_on_tcp(missing: str) -> None:
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
