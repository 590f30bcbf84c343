"""``ReserveWSGIServer`` in an embedding program."""

from __future__ import annotations

import socket

import pytest

from reserve import ReserveWSGIServer, listen
from reserve.errors import UsageError
from tests.apps.http.doubles import hello
from tests.apps.http.responses import receive, request


def test_options_have_the_names_of_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    server = ReserveWSGIServer(listen("127.0.0.1:0"), hello, threads=2, keep_alive=0, max_body=5, server_header="")
    with server:
        with socket.create_connection(server.addresses[0], 10) as client:
            client.sendall(request("POST", body=b"12345"))
            response = receive(client)
            assert (response.text, response.fields["connection"]) == ("hello 12345", "close")
            assert "server" not in response.fields
        with socket.create_connection(server.addresses[0], 10) as client:
            client.sendall(request("POST", body=b"123456"))
            assert receive(client).status == 413
        assert server.stats().threads == 2
    assert "POST" not in capfd.readouterr().out  # no access log unless an option turns it on


def test_the_access_log_can_be_turned_on(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        ReserveWSGIServer(listen("127.0.0.1:0"), hello, access_log=True) as server,
        socket.create_connection(server.addresses[0], 10) as client,
    ):
        client.sendall(request("GET", "/logged"))
        receive(client)
    assert '"GET /logged HTTP/1.1" 200 6 "-" "-"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "near"), [("keepalive", "keep_alive"), ("limits", "listen"), ("max_bodyy", "max_body")]
)
def test_an_option_that_does_not_exist_is_an_error(name: str, near: str) -> None:
    (listener,) = listen("127.0.0.1:0")
    with listener, pytest.raises(UsageError, match=f"no option is named {name!r}") as caught:
        ReserveWSGIServer(listener, hello, **{name: 1})
    if name != "limits":
        assert f"did you mean {near!r}?" in str(caught.value)
