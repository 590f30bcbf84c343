"""Builds the straight line in C (reserve/apps/http/_straightline.c), where there is a compiler.

All else of the package is set up in pyproject.toml. The extension is optional: without it the same line in Python
serves (reserve/apps/http/straightline.py).
"""

import sys

from setuptools import Extension, setup

# What the C code calls is there on every system but this one, whose sockets are no descriptors.
extensions = [] if sys.platform == "win32" else [
    Extension("reserve.apps.http._straightline", ["reserve/apps/http/_straightline.c"], optional=True)
]  # fmt: skip

setup(ext_modules=extensions)
