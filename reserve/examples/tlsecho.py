r"""``reserve app tlsecho``: tells a client the names in its certificate, and sends back what it sends. TLS by example.

TLS is the server's: the handler gets a socket that speaks it, and the options say who may connect::

    reserve app tlsecho --bind :7443 --tls-cert dev.pem --tls-key dev.key \
        --tls-client-cert required --tls-client-ca clients.pem
    openssl s_client -quiet -connect localhost:7443 -cert ann.pem -key ann.key

The client is told what the server knows about it (one ``NAME: value`` a line, then an empty line). With
``--allow CN,...`` only clients whose certificate has one of these common names are served. A connection without TLS, or
without a certificate that the server has checked, is told so and closed.

The names need the package cryptography (``pip install 'reserve[tls]'``).
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reserve import Park
from reserve.errors import StartupError

if TYPE_CHECKING:
    from reserve import Server

__all__ = ["ARGUMENTS", "TLSEcho", "launch"]

ARGUMENTS = """\
--allow CN,...         serve only clients whose certificate has one of these common names
"""

_SIZE = 16384  # bytes that are sent back at a time: the most that a record of TLS holds


class TLSEcho:
    """The handler: ``handle(socket, client_address, server)``. One serves all connections; workers call it.

    :param allowed: the common names of the clients that are served; empty: every client with a certificate.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = frozenset(allowed)

    def __call__(self, sock: Any, client_address: tuple[str, int], server: Server) -> Park | None:
        variables = variables_of(sock)
        reason = self._refusal(variables)
        if reason:
            server.log.warning(f"tlsecho: {client_address[0]}: refused: {reason}", "clients that are refused")
            server.send(sock, f"refused: {reason}\n".encode())
            return None
        server.send(sock, "".join(f"{name}: {value}\n" for name, value in names(variables)).encode() + b"\n")

        def resume() -> Park | None:
            data = sock.recv(_SIZE)
            if not data:
                return None
            server.send(sock, data)  # while it waits for the client, nothing more is received
            return parked

        parked = Park(resume)
        return parked

    def _refusal(self, variables: dict[str, str]) -> str:
        """Why a client is not served; empty: it is."""
        if not variables:
            return "this connection has no TLS; start the server with --tls-cert"
        if variables.get("SSL_CLIENT_VERIFY") != "SUCCESS":
            return "there is no client certificate; start the server with --tls-client-cert required"
        name = variables.get("SSL_CLIENT_S_DN_CN", "")
        if self._allowed and name not in self._allowed:
            return f"{name or 'a client without a common name'} is not among those that --allow names"
        return ""


def variables_of(sock: Any) -> dict[str, str]:
    """The variables that reserve has about a TLS connection (``SSL_CLIENT_S_DN`` and so on); none without TLS.

    They are made for WSGI, where each character stands for one byte of UTF-8 (PEP 3333).
    """
    environ: dict[str, str] = getattr(sock, "environ", dict)()
    return {name: value.encode("latin-1").decode("utf-8", "replace") for name, value in environ.items()}


def names(variables: dict[str, str]) -> list[tuple[str, str]]:
    """What is shown to the client: the protocol, the subject and issuer of its certificate, and its other names."""
    shown = [
        (label, variables[variable])
        for label, variable in (
            ("protocol", "SSL_PROTOCOL"),
            ("cipher", "SSL_CIPHER"),
            ("subject", "SSL_CLIENT_S_DN"),
            ("issuer", "SSL_CLIENT_I_DN"),
        )
        if variable in variables
    ]
    prefix = "SSL_CLIENT_SAN_"
    shown += [
        (variable.removeprefix(prefix).partition("_")[0], value)
        for variable, value in variables.items()
        if variable.startswith(prefix)
    ]
    return shown


def launch(args: Sequence[str]) -> TLSEcho:
    """Make the handler.

    :param args: the program, then the arguments in :data:`ARGUMENTS`.
    :raises SystemExit: others.
    :raises StartupError: ``--allow``, and there is no cryptography: every client would be refused.
    """
    parser = argparse.ArgumentParser(prog=args[0])
    parser.add_argument("--allow", default="", metavar="CN,...")
    options = parser.parse_args(args[1:])
    allowed = [name for name in options.allow.split(",") if name]
    if allowed:
        try:
            importlib.import_module("cryptography")
        except ImportError as error:
            raise StartupError(
                "--allow needs the package cryptography for the names in certificates, which cannot be imported "
                f"({error}): pip install 'reserve[tls]'"
            ) from None
    return TLSEcho(allowed)
