"""Restarts of the installed command under a steady load: clients that check every byte lose no request."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.restarts import KINDS, Outcome, restart
from tests.authority import Authority
from tests.real.installing import Installed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
LOSSLESS = sorted(name for name, kind in KINDS.items() if kind.lossless)


def check(outcome: Outcome) -> None:
    assert outcome.failures == ()
    assert outcome.sent > 100 * outcome.rounds


@pytest.mark.parametrize("name", LOSSLESS)
def test_no_request_is_lost(name: str, installed: Installed, tmp_path: Path) -> None:
    check(restart(name, 2, tmp_path, program=[installed.reserve]))


@pytest.mark.parametrize("name", ["reload", "reload-one", "handover"])
def test_no_request_is_lost_with_tls(name: str, installed: Installed, tmp_path: Path, authority: Authority) -> None:
    files = authority.issue("localhost", "localhost")
    certificate = files.cert, files.key, authority.pem
    check(restart(name, 2, tmp_path, certificate=certificate, program=[installed.reserve]))


@pytest.mark.parametrize("name", ["reload", "reload-one", "handover"])
def test_no_request_is_lost_on_a_unix_socket(name: str, installed: Installed, short_path: Path) -> None:
    check(restart(name, 2, short_path, unix=True, program=[installed.reserve]))


def test_a_killed_worker_process_takes_only_its_own_connections_along(installed: Installed, tmp_path: Path) -> None:
    """14 clients have a connection each; every process that was killed had some of them."""
    outcome = restart("kill", 2, tmp_path, program=[installed.reserve])
    assert len(outcome.failures) <= 2 * 14
    assert outcome.processes > 2
