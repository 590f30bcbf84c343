"""The instructions a request: no more than the baseline allows, and the arithmetic of ``benchmarks.instructions``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import ALLOWED, BASELINE, CASES, build, judged, read_baseline
from benchmarks.runtime import CLONE, FORMS, Runtime, installed


@pytest.mark.peer
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", FORMS)
def test_a_request_takes_no_more_instructions_than_the_baseline_allows(
    require_peer: Callable[[str], str], form: str
) -> None:
    require_peer("valgrind")
    baseline = read_baseline().get(build(), {}).get(form)
    # .ci/run has installed the clone; elsewhere the installed copy may be an old one.
    runtimes = [CLONE, installed()] if os.environ.get("RESERVE_CI") == "1" else [CLONE]
    runtime = next((each for each in runtimes if form == "pure" or each.extensions()), None)
    if runtime is None:
        pytest.skip("reserve has no extension module here, so that there is only the pure form")
    if baseline is None:
        pytest.skip(f"{BASELINE.name} has no counts of the form {form} for {build()}")
    verdicts = judged(form, instructions.confirmed(form, list(CASES), baseline, runtime), baseline)
    assert [verdict.case for verdict in verdicts] == list(CASES)
    assert all(verdict.passed for verdict in verdicts), "\n".join(verdict.line() for verdict in verdicts)


def test_the_stored_baseline_has_every_case_of_each_form() -> None:
    stored = read_baseline()
    assert stored
    for forms in stored.values():
        assert set(forms) <= set(FORMS)
        for counts in forms.values():
            assert set(counts) == set(CASES)
            assert all(isinstance(count, int) and count > 0 for count in counts.values())


def test_three_percent_above_the_baseline_pass_and_more_fails() -> None:
    baseline = {"hello": 100_000, "browser": 100_000}
    at, above = judged("pure", {"hello": round(100_000 * ALLOWED), "browser": round(100_000 * ALLOWED) + 1}, baseline)
    assert (at.passed, above.passed) == (True, False)
    assert "ABOVE THE BASELINE" in above.line()
    assert "ABOVE THE BASELINE" not in at.line()


def test_a_much_lower_count_proposes_to_lower_the_baseline() -> None:
    (verdict,) = judged("pure", {"hello": 50_000}, {"hello": 100_000})
    assert verdict.passed
    assert verdict.met
    assert "--update lowers" in verdict.line()


def test_the_target_of_an_access_log_is_about_what_it_adds() -> None:
    counts = {"hello": 50_000, "hello-log": 61_999, "browser": 120_000, "browser-log": 132_001}
    verdicts = {verdict.case: verdict for verdict in judged("pure", counts, {})}
    assert [verdicts[case].added for case in counts] == [None, 11_999, None, 12_001]
    assert [verdicts[case].met for case in counts] == [True, True, False, False]
    assert all(verdict.passed for verdict in verdicts.values()), "without a baseline nothing is a regression"
    assert verdicts["hello-log"].line().endswith("met: adds 11,999 of 12,000")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], int]:
    """``counted(n)``: the exit code when the pure form has n instructions, and the baseline says 1,000."""
    path = tmp_path / "baseline.json"
    path.write_text(json.dumps({build(): {"pure": {"hello": 1000}}}))
    monkeypatch.setattr(instructions, "BASELINE", path)
    monkeypatch.setattr(instructions, "read_baseline", lambda: read_baseline(path))
    monkeypatch.setattr(instructions, "missing_tools", lambda: [])
    monkeypatch.setattr(instructions, "_setting", lambda: "")
    monkeypatch.setattr(Runtime, "extensions", lambda runtime: [])

    def run(number: int, *arguments: str) -> int:
        monkeypatch.setattr(instructions, "count", lambda form, cases, runtime: dict.fromkeys(cases, number))
        return instructions.main(["--cases", "hello", *arguments])

    return run


def test_the_exit_code_says_whether_the_count_is_within_the_baseline(
    counted: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert counted(1030) == 0
    assert counted(1031) == 1
    assert "c     not built" in capsys.readouterr().out
    assert counted(1031, "--update") == 0
    assert counted(1031) == 0


def test_a_python_without_a_baseline_is_named(
    counted: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions, "build", lambda: "CPython 9.9")
    assert counted(1) == 3
    assert "has nothing for CPython 9.9; --update stores it" in capsys.readouterr().err


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(instructions, "missing_tools", lambda: ["valgrind"])
    assert instructions.main([]) == 2
    assert "valgrind not installed; on Debian: apt-get install valgrind" in capsys.readouterr().err


def test_a_count_above_the_baseline_is_confirmed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    results = iter([{"hello": 1100, "browser": 1000}, {"hello": 1020}])
    asked = []

    def count(form: str, cases: list[str], runtime: Runtime) -> dict[str, int]:
        asked.append(list(cases))
        return next(results)

    monkeypatch.setattr(instructions, "count", count)
    counts = instructions.confirmed("pure", ["hello", "browser"], {"hello": 1000, "browser": 1000})
    assert counts == {"hello": 1020, "browser": 1000}
    assert asked == [["hello", "browser"], ["hello"]]


def test_an_extension_module_is_found_by_its_file(tmp_path: Path) -> None:
    package = tmp_path / "reserve" / "apps" / "http"
    package.mkdir(parents=True)
    for folder in (package, package.parent, package.parent.parent):
        (folder / "__init__.py").write_text("")
    (package / "launch.py").write_text("import sys\nfrom types import ModuleType\n")
    runtime = Runtime(python=sys.executable, cwd=tmp_path, path=str(tmp_path))
    assert runtime.extensions() == []
    with (package / "launch.py").open("a") as file:
        file.write("module = ModuleType('reserve._fast')\nmodule.__file__ = '/somewhere/_fast.abi3.so'\n")
        file.write("sys.modules['reserve._fast'] = module\n")
    assert runtime.extensions() == ["reserve._fast"]
