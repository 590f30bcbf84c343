"""A folder of a website: what ``--static`` and ``reserve app http static`` serve.

:class:`StaticSite` adds to :class:`~reserve.gateways.static.StaticFiles` what a site wants: variants of files that are
compressed beforehand, Cache-Control, a page for what is missing, a listing if that is asked for, and OPTIONS.
:class:`StaticMounts` says for which requests there is a site. Both keep nothing between requests, and any number of
threads may call them. To answer a request means to use a disk, which may block; :meth:`StaticMounts.find` does not.
"""

from __future__ import annotations

import html
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import quote

from reserve.gateways.codings import IDENTITY, SUFFIXES, choose_coding, parse_accept_encoding
from reserve.gateways.conditional import Conditions
from reserve.gateways.dispatch import wsgi_path
from reserve.gateways.exchange import Environ, StartResponse, WSGIApplication
from reserve.gateways.folder import Folder, OpenedFile
from reserve.gateways.mediatypes import media_type
from reserve.gateways.static import (
    METHODS,
    FileBody,
    Representation,
    StaticFiles,
    StaticResponse,
    describe,
    path_names,
    plain_response,
    redirect_to_folder,
    respond,
)

__all__ = ["ALREADY_MISSING", "FoundSite", "StaticMounts", "StaticSite", "is_hashed"]

INDEX = "index.html"
MISSING = "404.html"
ALLOW = "GET, HEAD, OPTIONS"
IMMUTABLE = "public, max-age=31536000, immutable"
"""For a file whose name changes with its content (RFC 8246): a year, the longest time that caches keep anything."""
REVALIDATE = "no-cache"
"""For all others: a cache may keep it, and asks before each use whether it has changed, which mostly is a 304."""
MOST_LISTED = 10_000
"""Entries of a listing; a page with more helps nobody."""
ALREADY_MISSING = "reserve.static_missing"
"""In an environ: the site has no such file. The server sets it, so that the file is not searched once more."""

_HASHED = re.compile(r"(?:.*[.-])?(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,64}(?:\.[0-9A-Za-z]{1,16}){1,2}", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LISTING_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""A listing has names of files, which others may choose: no script and no style runs in it."""


def is_hashed(name: str) -> bool:
    """Whether a name has a hash of the content: ``app.3f2a9c1b.js``, ``logo-3f2a9c1b.svg``, ``3f2a9c1b.js.map``.

    The rule: before one or two extensions stand, at the beginning or after a dot or a hyphen, 8 to 64 digits in
    lower-case hexadecimal, with at least one of 0 to 9 and one of a to f, so that a date (``20240131``) is none. A
    UUID, which names something whose content may change, is none either.
    """
    return _HASHED.fullmatch(name) is not None and _UUID.search(name) is None


class StaticSite(StaticFiles):
    """A folder as a part of a website.

    :param folder: which files there are.
    :param listing: a folder without ``index.html`` gets a list of its files.
    :param immutable: send Cache-Control: see :func:`is_hashed`. False: none is sent.
    :param passes_on: the application gets the requests for what is missing.
    :param clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        listing: bool = False,
        immutable: bool = True,
        passes_on: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(folder, index=INDEX, clock=clock)
        self._listing = listing
        self._immutable = immutable
        self._passes_on = passes_on

    def respond(self, environ: Environ) -> StaticResponse:
        """The response to a request; 404 for what is missing."""
        return self.respond_or_pass(environ) or self._missing(environ)

    def respond_or_pass(self, environ: Environ) -> StaticResponse | None:
        """The response to a request; None: the application gets it.

        :raises OSError: the server cannot open anything now.
        """
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        try:
            opened, name = self._find(environ, path)
        except FileNotFoundError:
            listing = self._list(environ, path) if self._listing else None
            if listing is not None:
                return listing
            return None if self._passes_on else self._missing(environ)
        if method not in METHODS:
            if opened is not None:
                opened.file.close()
            return _options_or_405(method)
        if opened is None:
            return redirect_to_folder(environ.get("SCRIPT_NAME", "") + path, environ.get("QUERY_STRING", ""), method)
        now = self._clock()
        names, names_folder = path_names(environ, path)
        representation = self._negotiate([*names, name] if names_folder else names, opened, environ, now)
        if representation is None:
            return plain_response(406, headers=[("Vary", "Accept-Encoding")], method=method)
        return respond(representation, method, Conditions.from_environ(environ), now=now)

    def _negotiate(
        self, names: Sequence[str], opened: OpenedFile, environ: Environ, now: float
    ) -> Representation | None:
        """What is sent for a file: itself or one of its variants; None: the client accepts neither."""
        kind = media_type(names[-1], charset=self._charset)
        headers = []
        if self._immutable:
            headers.append(("Cache-Control", IMMUTABLE if is_hashed(names[-1]) else REVALIDATE))
        variants = {IDENTITY: opened}
        chosen = None
        try:
            for coding, suffix in SUFFIXES:
                variant = self._variant(names, suffix, opened)
                if variant is not None:
                    variants[coding] = variant
            weights = parse_accept_encoding(environ.get("HTTP_ACCEPT_ENCODING"))
            chosen = choose_coding(weights, (coding for coding, _ in SUFFIXES if coding in variants))
        finally:
            for coding, variant in variants.items():
                if coding != chosen:
                    variant.file.close()
        if chosen is None:
            return None
        if len(variants) > 1:
            headers.append(("Vary", "Accept-Encoding"))
        if chosen == IDENTITY:
            return describe(opened, kind, headers=headers, now=now)
        headers.append(("Content-Encoding", chosen))
        representation = describe(variants[chosen], kind, headers=headers, now=now)
        # RFC 9110 section 8.8.3.3: representations of different codings have different tags.
        return replace(representation, etag=f'{str(representation.etag)[:-1]}-{chosen}"')

    def _variant(self, names: Sequence[str], suffix: str, original: OpenedFile) -> OpenedFile | None:
        """The variant of a file that is compressed beforehand; None: there is none, or it is older than the file."""
        try:
            variant = self.folder.open([*names[:-1], names[-1] + suffix])
        except FileNotFoundError:
            return None
        if variant is None:
            return None
        if _is_older(variant.info.st_mtime_ns, original.info.st_mtime_ns):
            variant.file.close()
            return None
        return variant

    def _missing(self, environ: Environ) -> StaticResponse:
        """A 404, with the site's own page if it has one."""
        method = environ["REQUEST_METHOD"]
        try:
            opened = self.folder.open([MISSING])
        except FileNotFoundError:
            opened = None
        if opened is None:
            return plain_response(404, method=method)
        size = opened.info.st_size
        headers = [
            ("Content-Type", media_type(MISSING, charset=self._charset)),
            ("Content-Length", str(size)),
            ("X-Content-Type-Options", "nosniff"),
        ]
        if method == "HEAD" or not size:
            opened.file.close()
            return StaticResponse(404, headers)
        return StaticResponse(404, headers, FileBody(opened.file, [(0, size)]))

    def _list(self, environ: Environ, path: str) -> StaticResponse | None:
        """The list of the files in a folder; None: it is none."""
        method = environ["REQUEST_METHOD"]
        try:
            names, names_folder = path_names(environ, path)
            entries = self.folder.entries(names)
        except FileNotFoundError:
            return None
        if method not in METHODS:
            return _options_or_405(method)
        if not names_folder or not (path or not environ.get("SCRIPT_NAME")):
            return redirect_to_folder(environ.get("SCRIPT_NAME", "") + path, environ.get("QUERY_STRING", ""), method)
        shown = (environ.get("SCRIPT_NAME", "") + path).encode("latin-1").decode("utf-8", "replace")
        lines = ['<li><a href="../">../</a></li>'] if names else []
        for name, is_folder in entries[:MOST_LISTED]:
            slash = "/" if is_folder else ""
            text = os.fsencode(name).decode("utf-8", "replace")
            # "./": what stands before a colon is no scheme then.
            lines.append(
                f'<li><a href="./{quote(os.fsencode(name), safe="")}{slash}">{html.escape(text)}{slash}</a></li>'
            )
        if len(entries) > MOST_LISTED:
            lines.append(f"<li>and {len(entries) - MOST_LISTED} more</li>")
        title = html.escape(shown)
        body = (
            f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n'
            f"<body><h1>{title}</h1>\n<ul>\n" + "\n".join(lines) + "\n</ul></body></html>\n"
        ).encode()
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", _LISTING_POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", REVALIDATE),
        ]
        return StaticResponse(200, headers, b"" if method == "HEAD" else body)


def _options_or_405(method: str) -> StaticResponse:
    if method == "OPTIONS":
        return StaticResponse(204, [("Allow", ALLOW)])
    return plain_response(405, headers=[("Allow", ALLOW)])


def _is_older(variant: int, original: int) -> bool:
    """Whether a variant was made before the last change of its file.

    A time is compared as exactly as the variant has it: programs that copy the time of the file often drop what is
    smaller than a second or a microsecond.

    :param variant: nanoseconds; so is ``original``.
    """
    for unit in (1_000_000_000, 1_000):
        if variant % unit == 0:
            return variant // unit < original // unit
    return variant < original


class FoundSite(NamedTuple):
    """The site for a request, and where the request is in it."""

    site: StaticSite
    script_name: str
    path_info: str

    def respond(self, environ: Environ) -> StaticResponse | None:
        """The response to the request; None: the application gets it. Does not change ``environ``."""
        return self.site.respond_or_pass({**environ, "SCRIPT_NAME": self.script_name, "PATH_INFO": self.path_info})


class StaticMounts:
    """The sites of a server, and where they are.

    :param sites: by their prefixes, as ``wsgi_prefix`` returns them.
    :param others: the prefixes of applications.
    :param root_path: the path below which all are mounted, decoded.
    """

    def __init__(self, sites: Mapping[str, StaticSite], others: Iterable[str], root_path: str = "") -> None:
        mounts: dict[str, StaticSite | None] = {**dict.fromkeys(others), **sites}
        self._mounts = [(path, path + "/", mounts[path]) for path in sorted(mounts, key=len, reverse=True)]
        self._root = wsgi_path(root_path.removesuffix("/"))

    def find(self, environ: Environ) -> FoundSite | None:
        """The site with the longest prefix of the path; None: the application has a longer one, or there is none.

        :param environ: of a request, as it came.
        """
        root = self._root
        path, script = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
        if root and not (script == root or script.startswith(root + "/")):  # as mounted_at() does
            script = root + script
            if path == root or path.startswith(root + "/"):
                path = path[len(root) :]
        return self._find(script, path)

    def _find(self, script: str, path: str) -> FoundSite | None:
        for prefix, below, site in self._mounts:
            if path.startswith(below) or path == prefix:
                return None if site is None else FoundSite(site, script + prefix, path[len(prefix) :])
        return None

    def before(self, app: WSGIApplication) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
        """A WSGI application that serves the sites, and calls ``app`` for the rest. It gets environs from which the
        root path has been removed.
        """

        def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if environ.pop(ALREADY_MISSING, None) is None:
                found = self._find(environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", ""))
                response = None if found is None else found.respond(environ)
                if response is not None:
                    return response.to_wsgi(environ, start_response)
            return app(environ, start_response)

        return serve
