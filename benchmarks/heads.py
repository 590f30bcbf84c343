"""The two request heads that every measurement of HTTP uses: the smallest one, and one like a browser's."""

from __future__ import annotations

__all__ = ["BROWSER_FIELDS", "BROWSER_TARGET", "MINIMAL_TARGET", "head"]

MINIMAL_TARGET = "/"
BROWSER_TARGET = "/blog/2026/11/post?id=42&ref=home"
BROWSER_FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Cookie: session=eyJ1c2VyIjoiMTIzNDU2Nzg5MCJ9.Zm9vYmFyYmF6; theme=dark; _ga=GA1.2.1234567890.1234567890",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: none",
)
"""The fields that a browser sends in addition to Host, in kind and in length."""


def head(target: str = MINIMAL_TARGET, fields: tuple[str, ...] = (), *, method: str = "GET") -> bytes:
    """A request head of HTTP/1.1, with its empty line."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1:8080", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
