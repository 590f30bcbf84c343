"""Package metadata. Everything else about tools is in tox.ini and tests/ruff.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Read as text: importing the package to build it would need it to be installed already.
VERSION = re.search(r'^__version__ = "([^"]+)"', (HERE / "reserve" / "__init__.py").read_text("utf-8"), re.M)[1]
README = HERE / "README.md"

TEST = [
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    # The oracles of tests/differential: another release may refuse something else, and the list there is closed.
    "h11==0.16.*",
    "httptools==0.9.*",
    "flask>=3",
    "django>=4.2",
    "cherrypy>=18.10",
    "trustme>=1.2",
    "cryptography>=43",
    "pyOpenSSL>=25.2",
    "cheroot>=10",
]
FUZZ = ["atheris>=2.3"]
LINT = ["mypy>=1.11", "ruff>=0.6"]
BENCH = ["cheroot>=10", "waitress>=3", "gunicorn>=22", "granian>=1.6"]

setup(
    name="reserve",
    version=VERSION,
    description="A thread-pooled server for WSGI applications and any other protocol",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="the reserve authors",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["reserve", "reserve.*"]),
    package_data={
        "reserve": ["py.typed", "docs/*.md"],
        "reserve.examples": ["*.css", "*.svg", "*.html", "*/*.css", "*/*.svg", "*/*.html"],
    },
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=['tomli>=2; python_version < "3.11"'],
    extras_require={
        "tls": ["cryptography>=43"],
        "pyopenssl": ["pyOpenSSL>=25.2"],
        "cheroot": ["cheroot>=10"],
        "test": TEST,
        "fuzz": FUZZ,
        "lint": LINT,
        "bench": BENCH,
    },
    entry_points={
        "console_scripts": ["reserve = reserve.__main__:main", "sdlaunch = reserve.sdlaunch:main"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP :: WSGI :: Server",
        "Typing :: Typed",
    ],
)
