"""From the settings to the folders that are served. Runs on the main thread before the server starts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from reserve.errors import UsageError
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.dispatch import PathInfoDispatcher, wsgi_prefix
from reserve.gateways.folder import Folder
from reserve.gateways.staticsite import StaticMounts, StaticSite

if TYPE_CHECKING:
    from reserve.apps.http.settings import HTTPSettings
    from reserve.gateways.exchange import WSGIApplication

__all__ = ["static_mounts"]


def static_mounts(
    settings: HTTPSettings, app: WSGIApplication, *, root_folder: str, has_application: bool
) -> StaticMounts | None:
    """The folders of ``--static`` and ``http static DIR``; None: there are none.

    :param app: the application of the gateway.
    :param root_folder: a directory that is served at ``/``; empty: none.
    :param has_application: False: ``app`` only says that there is nothing.
    :raises UsageError: what is no directory, two directories at one path, or an application that gets no request.
    """
    folders: dict[str, str] = {"": root_folder} if root_folder else {}
    for text in settings.static:
        prefix, _, path = text.partition("=")
        key = wsgi_prefix(prefix)
        if key in folders:
            raise UsageError(f"two directories would be served at {prefix}: {folders[key]} and {path} (--static)")
        folders[key] = path
    if not folders:
        return None
    for path in folders.values():
        if not os.path.isdir(path):
            raise UsageError(f"{path} is not a directory, so that its files cannot be served")
    if isinstance(app, CallingThread):
        app = app.app
    others = app.prefixes if isinstance(app, PathInfoDispatcher) else ("",)
    passes_on = settings.static_missing == "app" and has_application
    hidden = [key for key in others if key in folders]
    if hidden and has_application and not passes_on:
        raise UsageError(
            f"an application and the directory {folders[hidden[0]]} would both be served at {hidden[0] or '/'}; "
            "with --static-missing app, the application gets the requests for which there is no file"
        )
    sites = {
        key: StaticSite(
            Folder(os.path.abspath(path)),
            listing=settings.static_listing,
            immutable=settings.static_immutable,
            passes_on=passes_on,
        )
        for key, path in folders.items()
    }
    return StaticMounts(sites, others, settings.root_path)
