"""Builds the modules in C, where there is a compiler: the straight line of HTTP (reserve/apps/http/_straightline.c), the
usual lines of the access log (reserve/apps/_accesslog/_lines.c), and the lock on which the threads of the engine sleep
(reserve/engine/polling/_lock.c).

All else of the package is set up in pyproject.toml. The modules are optional: without them the same is done in Python.
"""

import sys

from setuptools import Extension, setup

# What the C code calls is there on every system but this one, whose sockets are no descriptors.
extensions = [] if sys.platform == "win32" else [
    Extension("reserve.apps.http._straightline", ["reserve/apps/http/_straightline.c"], optional=True),
    Extension("reserve.apps._accesslog._lines", ["reserve/apps/_accesslog/_lines.c"], optional=True),
    Extension("reserve.engine.polling._lock", ["reserve/engine/polling/_lock.c"], optional=True),
]  # fmt: skip

setup(ext_modules=extensions)
