"""The folder that the environment variable ``FILES`` names."""

from __future__ import annotations

import os

from reserve.gateways.folder import Folder
from reserve.gateways.static import StaticFiles

app = StaticFiles(Folder(os.environ["FILES"]), index="index.html")
