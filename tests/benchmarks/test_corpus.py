"""The corpus benchmark: how it counts and prints results, and what it does when a server or the runner fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import reserve
from benchmarks.corpus import Score, main, score, table

RESULTS = [
    {"severity": "smuggling", "verdict": "pass"},
    {"severity": "smuggling", "verdict": "fail", "executed": True},
    {"severity": "must", "verdict": "lenient"},
    {"severity": "must", "verdict": "pass", "executed": False},
]
APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
"""
RUNNER = f"""
import json, sys, urllib.request
host, port, flag, report = sys.argv[1:5]
assert flag == "--json"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
with opener.open(f"http://{{host}}:{{port}}/") as response:
    assert response.read() == b"hello"
with open(report, "w") as file:
    json.dump({{"results": {RESULTS!r}}}, file)
sys.exit(1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", "")  # main() changes it; this restores it afterwards
    (tmp_path / "echo_app.py").write_text(APPLICATION)
    (tmp_path / "corpus.py").write_text(RUNNER)
    return tmp_path


def test_score_counts_results_by_severity_and_verdict():
    result = score("cheroot", "1.0", RESULTS)
    assert [result.cell(severity) for severity in ("smuggling", "must", "should")] == [
        "1 / 0 / 1",
        "1 / 1 / 0",
        "0 / 0 / 0",
    ]
    assert result.total == "2 / 1 / 1"
    assert result.executed == 1


def test_the_table_has_a_row_for_each_server():
    rows = table([score("gunicorn", "1.0", RESULTS), Score("waitress", "2.0", {}, 0, "no\nresponse")]).splitlines()
    assert rows[2] == "| gunicorn (gthread) | 1.0 | 1 / 0 / 1 | 1 / 1 / 0 | 0 / 0 / 0 | 2 / 1 / 1 | 1 |"
    assert rows[3].startswith("| waitress | 2.0 | not measured: no response |")
    assert {row.count("|") for row in rows} == {8}


def test_the_documentation_has_a_table_with_the_same_columns():
    page = (Path(reserve.__file__).parent / "docs" / "corpus.md").read_text("utf-8")
    assert table([]) in page


def test_a_run_prints_the_table_and_writes_both_files(folder: Path, capsys: pytest.CaptureFixture[str]):
    markdown, verdicts = folder / "table.md", folder / "verdicts"
    arguments = [str(folder), "--servers", "reserve", "--markdown", str(markdown), "--json", str(verdicts)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    row = f"| reserve | {reserve.__version__} | 1 / 0 / 1 | 1 / 1 / 0 | 0 / 0 / 0 | 2 / 1 / 1 | 1 |"
    assert row in printed
    assert markdown.read_text() == printed
    assert json.loads((verdicts / "reserve.json").read_text())["results"] == RESULTS


def test_a_runner_that_fails_gives_no_result(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "corpus.py").write_text("import sys\nsys.exit('no cases here')\n")
    assert main([str(folder), "--servers", "reserve"]) == 1
    assert "not measured: the runner ended with exit code 1: no cases here" in capsys.readouterr().out


def test_a_server_that_does_not_start_gives_no_result(folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "echo_app.py").write_text("raise RuntimeError('broken application')\n")
    assert main([str(folder), "--servers", "reserve"]) == 1
    assert "not measured: reserve ended with exit code 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"), [([], "has no corpus.py"), (["--servers", "apache"], "knows no 'apache'")]
)
def test_wrong_usage_ends_with_a_message(folder: Path, options: list[str], message: str):
    if not options:
        (folder / "corpus.py").unlink()
    with pytest.raises(SystemExit, match=message):
        main([str(folder), *options])
