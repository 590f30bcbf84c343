"""The rows of what is refused although its bytes are valid: it is too slow, or the server has no room for it."""

from __future__ import annotations

from tests.strictness.rows import Group, Refusal

__all__ = ["CIRCUMSTANCES"]

CIRCUMSTANCES = {
    "Time and room": Group(
        "These do not depend on the bytes alone. What each protects against is in [adversity.md](adversity.md).",
        (
            Refusal(
                "plain HTTP on a port that serves TLS",
                None,
                400,
                "This port speaks TLS: the address begins with https://.",
            ),
            Refusal(
                "a head that comes too slowly", None, 408, "the head of the request came too slowly (--head-timeout)"
            ),
            Refusal(
                "a body that comes too slowly",
                None,
                408,
                "the body of the request came too slowly (--body-timeout, --body-rate)",
            ),
            Refusal(
                "a streamed body that comes too slowly",
                None,
                408,
                "the body came too slowly: 10 bytes (--body-timeout, --body-rate)",
            ),
            Refusal(
                "a body when the budgets are used up",
                None,
                507,
                "no room for request bodies for now (--buffer-memory, --spool-disk)",
            ),
            Refusal(
                "a body when the disk is full",
                None,
                507,
                "the server has no room for the body of this request (--spool-dir)",
            ),
            Refusal(
                "a body when the disk fails",
                None,
                500,
                "the server has no room for the body of this request (--spool-dir)",
            ),
            Refusal(
                "a body when no file can be opened",
                None,
                503,
                "the server has no file left for the body of this request (ulimit -n)",
            ),
            Refusal(
                "a head of more than 4 KiB that has to wait for its end, or for its body, when the memory is used up",
                None,
                503,
                "no room for large heads of requests for now (--buffer-memory)",
            ),
            Refusal(
                "a request that has waited too long for a worker, or after too many others (`--queue-timeout`, "
                "`--max-queued`)",
                None,
                503,
                "The server is overloaded; try again in a moment.",
            ),
            Refusal(
                "a request of a client that has too many already (`--max-running-per-client`)",
                None,
                429,
                "as many requests of this client run and wait as --max-running-per-client allows",
            ),
            Refusal(
                "a request that has waited too long for those of the same client (`--max-running-per-client`)",
                None,
                429,
                "no earlier request of this client has ended within --queue-timeout (--max-running-per-client)",
            ),
            Refusal(
                "a WebSocket behind a frontend, of a client that has too many (`--max-connections-per-client`)",
                None,
                429,
                "this client has as many connections open as --max-connections-per-client allows",
            ),
            Refusal(
                "a request whose response does not begin in time (`--request-timeout`)",
                None,
                503,
                "The application did not respond in time.",
            ),
        ),
    ),
}
