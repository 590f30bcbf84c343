from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reserve
from reserve.apps.http.settings import HTTPSettings
from reserve.cli.parser import app_arguments, parse_command_line
from reserve.engine.settings import EngineSettings
from reserve.errors import StartupError, UsageError
from reserve.options.help import help_text, reference_page
from reserve.options.sources import Values, collect, read_environment, read_file, unknown_variables
from reserve.options.table import COMMAND, FILE, FLAGS, OPTIONS, Option
from reserve.paramtypes import Count, Flag, Octal, Pair, Seconds, Size
from reserve.protocol.http1.limits import Limits
from reserve.ssl.settings import TLSSettings

PAGE = Path(reserve.__file__).parent / "docs" / "options.md"


def values(*line: str, environ: dict[str, str] | None = None, directory: Path | None = None) -> Values:
    return collect(parse_command_line(line).given, environ or {}, str(directory or "/nonexistent"))


# ---- the table ----


NO_OPTIONS = {
    "limits",  # fields of their own
    "protocols",  # the application knows which it speaks
}


@pytest.mark.parametrize("home", [EngineSettings, HTTPSettings, Limits, TLSSettings])
def test_every_field_of_a_settings_class_is_exactly_one_option(home: type) -> None:
    fields = {field.name: field for field in dataclasses.fields(home) if field.name not in NO_OPTIONS}
    rows = [option for option in OPTIONS if option.home is home]
    assert sorted(option.setting for option in rows) == sorted(fields)
    assert all(option.default == fields[option.setting].default for option in rows)


def test_no_name_is_used_twice() -> None:
    spelled = [flag for option in OPTIONS for flag in option.flags]
    assert len(spelled) == len(set(spelled)) == len(FLAGS)
    assert len({option.variable for option in OPTIONS}) == len(OPTIONS)


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.home], ids=lambda option: option.name)
def test_every_default_is_within_its_own_range(option: Option) -> None:
    if option.default is not None:
        shown = option.kind.format(option.default)
        text = {"on": "true", "off": "false"}.get(shown, shown)
        assert option.kind.parse(text) == option.default


def test_the_committed_page_is_in_step() -> None:
    assert PAGE.read_text("utf-8") == reference_page(), "run: python -m reserve.options > reserve/docs/options.md"


def test_the_module_prints_the_page() -> None:
    root = str(Path(reserve.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "reserve.options"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == reference_page()


def test_help_has_every_option_and_fits_the_width() -> None:
    text = help_text()
    assert all(flag in text for flag in FLAGS)
    assert max(map(len, text.splitlines())) <= 120


def test_defaults_without_any_source() -> None:
    assert values().engine() == EngineSettings()
    expected = dataclasses.asdict(HTTPSettings())
    expected.update(expected.pop("limits"))
    assert values().application() == expected
    assert values().given_for_application() == []


# ---- values ----


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("1.5", 1.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3s", 3), ("0", 0)]
)
def test_times(text: str, seconds: float) -> None:
    assert Seconds(0).parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "1,5", "1 s", "nan", "inf", "1e3", "\u0661", "8d", "9" * 400, ".5", "5."])
def test_times_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Seconds(0).parse(text)


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64k", 65536), ("1m", 1048576), ("1G", 1073741824), ("0", 0)]
)
def test_sizes(text: str, size: int) -> None:
    assert Size(0, 1024**4).parse(text) == size


@pytest.mark.parametrize("text", ["", "-1", "+5", "1_0", "1.5k", "64kb", "0x10", " 1", "1\n", "\u0661", "9" * 5000])
def test_sizes_and_counts_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Size(0, 1024**4).parse(text)
    with pytest.raises(ValueError, match=r"^$"):
        Count(0, 10**9).parse(text)


@given(st.integers(0, 1024**4))
def test_a_shown_size_reads_back(size: int) -> None:
    kind = Size(0, 1024**4)
    assert kind.parse(kind.format(size)) == size


@given(st.integers(0, 604800))
def test_a_shown_time_reads_back(seconds: int) -> None:
    kind = Seconds(0)
    assert kind.parse(kind.format(seconds)) == pytest.approx(seconds, rel=1e-4)


@pytest.mark.parametrize(("text", "mode"), [("660", 0o660), ("0o600", 0o600), ("0777", 0o777)])
def test_modes(text: str, mode: int) -> None:
    assert Octal().parse(text) == mode


@pytest.mark.parametrize("text", ["", "8", "66", "888", "0x1ff", "66000"])
def test_modes_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        Octal().parse(text)


def test_flags_and_pairs() -> None:
    assert [Flag().parse(word) for word in ("1", "TRUE", "yes", "off", "No", "0")] == [True] * 3 + [False] * 3
    assert Pair().parse("A=b=c") == ("A", "b=c")
    for wrong in ("A", "=b", "A=\0"):
        with pytest.raises(ValueError, match=r"^$"):
            Pair().parse(wrong)


# ---- the scanner ----


def test_options_are_taken_out_wherever_they_stand() -> None:
    line = ["--threads", "4", "app", "http", "-b:80", "wsgi", "blog", "-b", ":81", "--colour", "red", "--keep-alive=5"]
    command = parse_command_line([*line, "--", "--threads", "9", "--", "-h"])
    assert command.arguments == ("app", "http", "wsgi", "blog", "--colour", "red")
    assert command.after == ("--threads", "9", "--", "-h")
    assert [(option.name, text) for option, text in command.given] == [
        ("threads", "4"), ("bind", ":80"), ("bind", ":81"), ("keep-alive", "5"),
    ]  # fmt: skip
    assert app_arguments(command) == ("http", ("wsgi", "blog", "--colour", "red"))
    assert not command.help


_WORDS = st.sampled_from(["app", "http", "blog", "-x", "--colour", "--thread", "-", "a=b", "", "-hello", "--helpless"])
_OPTIONS = st.sampled_from([["--threads", "4"], ["--threads=4"], ["-b:80"], ["-b", ":80"], ["--no-access-log"], ["-h"]])


@given(st.lists(st.one_of(_WORDS.map(lambda word: [word]), _OPTIONS)), st.lists(st.one_of(_WORDS, st.just("--"))))
def test_what_is_left_keeps_its_order(parts: list[list[str]], after: list[str]) -> None:
    command = parse_command_line([word for part in parts for word in part] + ["--", *after])
    ours = [part for part in parts if part[0].partition("=")[0] in FLAGS or part[0] == "-b:80"]
    assert list(command.arguments) == [part[0] for part in parts if part not in ours]
    assert list(command.after) == after
    assert command.help == (["-h"] in ours)
    assert len(command.given) == len([part for part in ours if part != ["-h"]])


def test_there_are_no_abbreviations() -> None:
    assert parse_command_line(["--thread", "4"]).arguments == ("--thread", "4")
    with pytest.raises(UsageError, match=r"no server option --thread; did you mean --threads"):
        app_arguments(parse_command_line(["--thread", "4", "app", "http"]))


@pytest.mark.parametrize(
    "line", [["--threads"], ["--threads", "--"], ["--threads", "--bind", ":80"], ["-b"], ["-b", "-h"]]
)
def test_a_missing_value(line: list[str]) -> None:
    with pytest.raises(UsageError, match=r"needs a value: "):
        parse_command_line(line)


def test_a_flag_with_a_value() -> None:
    with pytest.raises(UsageError, match=r"--access-log takes no value.*write --access-log or --no-access-log"):
        parse_command_line(["--access-log=yes"])


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (["http", "wsgi", "blog", "--threads", "16"], "reserve app http wsgi blog --threads 16"),
        (["--threads", "4", "a b"], "reserve --threads 4 app 'a b'"),
        ([], "reserve app NAME"),
        (["--threads", "4"], "reserve --threads 4 app NAME"),
        (["--", "app", "x"], "reserve app NAME"),
    ],
)
def test_a_missing_app_prints_the_right_line(line: list[str], right: str) -> None:
    with pytest.raises(UsageError) as caught:
        app_arguments(parse_command_line(line))
    assert str(caught.value).endswith(f"write: {right}")


def test_a_missing_name() -> None:
    with pytest.raises(UsageError, match=r"name is missing; write: reserve app NAME"):
        app_arguments(parse_command_line(["app"]))
    with pytest.raises(UsageError, match=r"no server option --foo; reserve -h"):
        app_arguments(parse_command_line(["app", "--foo", "http"]))


# ---- precedence ----


def test_file_environment_command_line(tmp_path: Path) -> None:
    text = '[server]\nthreads = 2\nbacklog = 2\nmax-head = "32k"\nhead_timeout = 2.5\naccess-log = false\n'
    (tmp_path / "reserve.toml").write_text(text + 'bind = [":1", ":2"]\nexpect = "app"\n')
    environ = {"RESERVE_THREADS": "3", "RESERVE_BACKLOG": "3", "RESERVE_MAX_HEAD": "16k", "RESERVED": "x"}
    found = values("--threads", "4", "--threads=5", "-b", ":3", "-b:4", environ=environ, directory=tmp_path)
    assert (found["threads"], found["backlog"], found["max_head"]) == (5, 3, 16384)
    assert (found["head_timeout"], found["access_log"], found["expect"]) == (2.5, False, "app")
    assert found["bind"] == (":3", ":4")
    assert found.engine() == EngineSettings(threads=5, backlog=3)
    assert found.application()["max_head"] == 16384
    assert "threads" not in found.application()
    assert values(environ={"RESERVE_BIND": ":5, :6"}, directory=tmp_path)["bind"] == (":5", ":6")
    assert values(directory=tmp_path)["bind"] == (":1", ":2")


def test_tls_is_neither_the_engine_s_nor_the_application_s(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text('[server]\ntls-cert = ["a", "b"]\ntls_min_version = "1.3"\n')
    environ = {"RESERVE_TLS_KEY": "c,d", "RESERVE_TLS_CLIENT_CERT": "optional", "RESERVE_TLS_CHECK": "1m"}
    found = values("--tls-client-ca", "ca", "--handshake-timeout=2", environ=environ, directory=tmp_path)
    assert (found["tls_cert"], found["tls_key"]) == (("a", "b"), ("c", "d"))
    assert found.tls() == TLSSettings(min_version="1.3", client_cert="optional", client_ca="ca")
    assert found.engine() == EngineSettings(tls_check=60, handshake_timeout=2)
    assert not [name for name in found.application() if name.startswith("tls")]
    assert found.given_for_application() == []


def test_variables_are_merged_by_name(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text('[server.env]\nA = "file"\nB = "file"\n')
    found = values("--env", "B=line", "--env=C=line", directory=tmp_path)
    assert dict(found["env"]) == {"A": "file", "B": "line", "C": "line"}  # type: ignore[call-overload]


def test_a_flag_can_be_turned_back() -> None:
    assert values("--no-access-log", "--access-log")["access_log"] is True
    assert values("--no-access-log", environ={"RESERVE_ACCESS_LOG": "on"})["access_log"] is False


def test_pyproject(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\nthreads = 'reserve'\n")
    assert values(directory=tmp_path)["threads"] == 16
    project.write_text("[tool.reserve]\nthreads = 7\n")
    assert values(directory=tmp_path)["threads"] == 7
    (tmp_path / "reserve.toml").write_text("[server]\nthreads = 8\n")
    assert values(directory=tmp_path)["threads"] == 8


def test_config_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text("[server]\nthreads = 8\n")
    (tmp_path / "other.toml").write_text("[server]\nthreads = 9\n")
    assert values("--config", "other.toml", directory=tmp_path)["threads"] == 9
    assert values(environ={"RESERVE_CONFIG": str(tmp_path / "other.toml")}, directory=tmp_path)["threads"] == 9
    with pytest.raises(StartupError, match=r"absent\.toml \(named by --config\): No such file"):
        values("--config", "absent.toml", directory=tmp_path)


def test_a_pool_that_grows_is_two_numbers(tmp_path: Path) -> None:
    assert values("--threads", "2:16")["threads"] == (2, 16)
    assert values(environ={"RESERVE_THREADS": "3:3"})["threads"] == (3, 3)
    (tmp_path / "reserve.toml").write_text('[server]\nthreads = "1:4096"\n')
    assert values(directory=tmp_path)["threads"] == (1, 4096)


# ---- what a mistake gets ----


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--threads", "many"], "--threads is 'many'; allowed is a whole number from 1 to 4096"),
        (["--threads", "0"], "--threads is '0'; allowed is a whole number from 1 to 4096"),
        (["--threads", "16:2"], "--threads is '16:2'; allowed is a whole number from 1 to 4096, or two as MIN:MAX"),
        (["--threads", "2:"], "--threads is '2:'"),
        (["--threads", "1:2:3"], "--threads is '1:2:3'"),
        (["--threads", "2:5000"], "--threads is '2:5000'"),
        (["--threads", "x", "--threads", "4"], "--threads is 'x'"),
        (["--keep-alive", "soon"], "--keep-alive is 'soon'; allowed is a time from 0 to 7d"),
        (["--max-head", "1t"], "--max-head is '1t'; allowed is bytes from 128 to 16m"),
        (["--log-level", "loud"], "--log-level is 'loud'; allowed is debug, info, warning, error or critical"),
        (["--expect", "me"], "--expect is 'me'; allowed is server or app"),
        (["--root-path", "x/"], "--root-path is 'x/'; allowed is a path that begins with /"),
        (["--server-header", "a\r\nb"], "--server-header is 'a\\r\\nb'; allowed is printable ASCII"),
        (["--bind", "8080"], "--bind: cannot listen on '8080'"),
        (["--plain-bind", "8080"], "--plain-bind: cannot listen on '8080'"),
        (["--redirect-http", "http://a"], "--redirect-http: cannot listen on 'http://a'"),
        (["--tls-min-version", "1.1"], "--tls-min-version is '1.1'; allowed is 1.2 or 1.3"),
        (["--tls-client-cert", "yes"], "--tls-client-cert is 'yes'; allowed is none, optional or required"),
        (["--tls-cert", ""], "--tls-cert is ''; allowed is a file"),
        (["--env", "PATH"], "--env is 'PATH'; allowed is NAME=VALUE"),
        (["--spool-dir", ""], "--spool-dir is ''; allowed is a directory"),
    ],
)
def test_a_bad_value_on_the_command_line(line: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        values(*line)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("RESERVE_THREADS", "many", "the environment variable RESERVE_THREADS is 'many'; allowed is a whole"),
        (
            "RESERVE_THREAD",
            "4",
            "the environment variable RESERVE_THREAD is not an option; did you mean RESERVE_THREADS?",
        ),
        ("RESERVE_STOP_TIME_OUT", "4", "RESERVE_STOP_TIME_OUT is not an option; did you mean RESERVE_STOP_TIMEOUT?"),
        ("RESERVE_ACCESS_LOG", "maybe", "RESERVE_ACCESS_LOG is 'maybe'; allowed is true or false"),
        ("RESERVE_ENV", "A=b", "RESERVE_ENV cannot be set in the environment; set the variables themselves"),
        ("RESERVE_HELP", "1", "RESERVE_HELP cannot be set in the environment; write --help"),
        ("RESERVE_BIND", ":80,nowhere", "the environment variable RESERVE_BIND: cannot listen on 'nowhere'"),
    ],
)
def test_a_mistake_in_the_environment(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_environment({name: text})
    assert message in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    environ = {"RESERVE_CI": "1", "RESERVE_SERVICE_HOST": "10.0.0.1", "RESERVE_PORT_80_TCP": "tcp://10.0.0.1:80"}
    environ["RESERVE_PORT"] = environ["RESERVE_WEB_PORT"] = "tcp://10.0.0.1:80"
    environ["RESERVE_WEB_SERVICE_PORT_HTTP"] = environ["RESERVE_WEB_PORT_80_TCP_ADDR"] = "x"
    assert read_environment(environ) == []
    assert unknown_variables(environ) == []


def test_what_is_no_option_is_the_applications() -> None:
    environ = {"RESERVE_PORT": "9000", "RESERVE_API_KEY": "x", "RESERVE_THREADS": "3", "RESERVED": "y"}
    assert [one.option.name for one in read_environment(environ)] == ["threads"]
    assert unknown_variables(environ) == ["RESERVE_API_KEY", "RESERVE_PORT"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nthread = 4", "thread in {} [server] is not an option; did you mean threads?"),
        ("[server]\nxyzzy = 4", "xyzzy in {} [server] is not an option; reserve -h lists"),
        ("[serve]\nthreads = 4", "{} has 'serve' at its top level; did you mean [server]?"),
        ("threads = 4", "{} has 'threads' at its top level; options belong in the table [server]"),
        ("server = 4", "{} [server] is 4; it has to be a table"),
        ("[server]\nthreads = true", "threads in {} [server] is True; allowed is a whole number"),
        ("[server]\nthreads = -1", "threads in {} [server] is -1; allowed"),
        ("[server]\nthreads = 1.5", "threads in {} [server] is 1.5; allowed"),
        ("[server]\nkeep-alive = nan", "keep-alive in {} [server] is nan; allowed is a time"),
        ("[server]\naccess-log = 'yes'", "access-log in {} [server] is 'yes'; allowed is true or false"),
        ("[server]\nunix-mode = 660", "unix-mode in {} [server] is 660; allowed is three or four octal digits"),
        ("[server]\nserver-header = 5", "server-header in {} [server] is 5; allowed is printable"),
        ("[server]\nenv = ['A']", "env in {} [server] is 'A'; allowed is NAME=VALUE"),
        ("[server.env]\nA = 1", "env in {} [server]: A is 1; allowed is a string"),
        ("[server]\nbind = [8080]", "bind in {} [server] is 8080; allowed is HOST:PORT"),
        ("[server]\nhelp = true", "help in {} [server] is not an option"),
        ("[server]\nconfig = 'x'", "config in {} [server] is not an option"),
        ("[server]\nhead-timeout = 1\nhead_timeout = 2", "given twice, as head-timeout and as head_timeout"),
        ("[server", "{} is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "reserve.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        values(directory=tmp_path)
    assert message.format(path) in str(caught.value)


def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"[server]\n# \xff\n")
    with pytest.raises(UsageError, match=r"is not valid TOML"):
        read_file(str(path))


def test_without_a_toml_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> ModuleType:
        if name in ("tomllib", "tomli"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    project = tmp_path / "pyproject.toml"
    project.write_text("[project]\ndependencies = ['reserve']\n")
    assert values(directory=tmp_path)["threads"] == 16
    project.write_text("[ tool.reserve ]\nthreads = 4\n")
    with pytest.raises(StartupError, match=r"needs Python 3.11 or the package tomli"):
        values(directory=tmp_path)


def test_every_option_can_be_given_where_its_row_says() -> None:
    for option in OPTIONS:
        assert COMMAND in option.sources
        assert (FILE in option.sources) == (option.name not in ("config", "version", "help")), option.name
