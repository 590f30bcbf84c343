"""What the pages say about a project of Django, with one that ``startproject`` has made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import reserve
from tests.real.conftest import Serve
from tests.real.installing import Installed
from tests.real.processes import run
from tests.real.serving import fetch
from tests.real.test_frameworks import require_framework

DOCS = Path(reserve.__file__).parent / "docs"


@pytest.fixture
def project(installed: Installed, tmp_path: Path) -> Path:
    """The directory of the project ``shop``."""
    require_framework("django")
    run([installed.python, "-m", "django", "startproject", "shop", str(tmp_path)]).check_returncode()
    with open(tmp_path / "shop" / "settings.py", "a") as file:
        file.write('STATIC_ROOT = BASE_DIR / "staticfiles"\n')
    return tmp_path


def start_that_fails(installed: Installed, project: Path, name: str) -> subprocess.CompletedProcess[bytes]:
    return run([installed.reserve, "-b", "127.0.0.1:0", "app", "http", "wsgi", name], cwd=project)


def test_a_mistake_in_the_views_is_found_at_the_start(installed: Installed, project: Path) -> None:
    line = "import shop.urls"
    assert f"`{line}`" in (DOCS / "processes.md").read_text("utf-8")
    (project / "shop" / "urls.py").write_text("import shop.nothing\n")
    with open(project / "shop" / "wsgi.py", "a") as file:
        file.write(f"{line}\n")
    done = start_that_fails(installed, project, "shop.wsgi")
    assert done.returncode == 1
    assert b"ModuleNotFoundError: No module named 'shop.nothing'" in done.stderr


def test_the_package_of_the_project_is_corrected(installed: Installed, project: Path) -> None:
    done = start_that_fails(installed, project, "shop")
    assert done.returncode == 1
    assert done.stderr.endswith(b" app http wsgi shop.wsgi\n")


def test_the_files_of_collectstatic_are_served(installed: Installed, project: Path, serve: Serve) -> None:
    run([installed.python, "manage.py", "collectstatic"], cwd=project).check_returncode()
    with (
        serve("app", "http", "wsgi", "shop.wsgi", "--static", "/static=staticfiles", cwd=project) as server,
        server.client() as client,
    ):
        assert fetch(client, "GET", "/")[0] == 200
        status, headers, _ = fetch(client, "GET", "/static/admin/css/base.css")
        assert (status, headers["Content-Type"]) == (200, "text/css; charset=utf-8")
