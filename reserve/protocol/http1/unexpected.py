"""Says which octet arrived where nothing legal can follow: the words of every refusal of a single octet.

Runs on any thread. A refusal is the same however its input was split, so it names what had arrived up to that octet and
nothing behind it.
"""

from __future__ import annotations

from reserve.errors import RemoteError

__all__ = ["unexpected"]

HEAD, TAIL = 40, 17


def unexpected(octet: int, before: bytes, where: str) -> RemoteError:
    """A 400 for an octet that cannot stand behind ``before``.

    :param before: what had arrived of the line; its middle is left out when it is long.
    :param where: the kind of line, with its rule: ``"a field line (RFC 9112 section 5)"``.
    """
    if not before:
        return RemoteError(400, f"octet 0x{octet:02x} cannot begin {where}")
    text = before.decode("latin-1")
    if len(text) > HEAD + TAIL + 3:
        text = f"{text[:HEAD]}...{text[-TAIL:]}"
    return RemoteError(400, f"octet 0x{octet:02x} cannot follow {text!r} in {where}")
