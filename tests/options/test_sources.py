"""Reading options from the command line, the environment and a file, and what a mistake in each of them gets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.cli.parser import parse_command_line
from reserve.engine.settings import EngineSettings
from reserve.errors import StartupError, UsageError
from reserve.options.sources import (
    Values,
    collect,
    probable_variable,
    read_environment,
    read_file,
    unknown_variables,
)
from reserve.ssl.settings import TLSSettings


def read(*argv: str, environ: dict[str, str] | None = None, directory: Path | None = None) -> Values:
    """The options of a command line, an environment, and the files of a directory."""
    return collect(parse_command_line(argv).given, environ or {}, str(directory or "/nonexistent"))


def test_without_a_source_every_option_has_its_default() -> None:
    assert read().engine() == EngineSettings()
    expected = dataclasses.asdict(HTTPSettings())
    expected.update(expected.pop("limits"))
    assert read().application() == expected
    assert read().given_for_application() == []


def test_the_command_line_overrides_the_environment_and_the_environment_the_file(tmp_path: Path) -> None:
    text = '[server]\nthreads = 2\nbacklog = 2\nmax-head = "32k"\nhead_timeout = 2.5\naccess-log = false\n'
    (tmp_path / "reserve.toml").write_text(text + 'bind = [":1", ":2"]\nexpect = "app"\n')
    environ = {"RESERVE_THREADS": "3", "RESERVE_BACKLOG": "3", "RESERVE_MAX_HEAD": "16k", "RESERVED": "x"}
    values = read("--threads", "4", "--threads=5", "-b", ":3", "-b:4", environ=environ, directory=tmp_path)
    assert (values["threads"], values["backlog"], values["max_head"]) == (5, 3, 16384)
    assert (values["head_timeout"], values["access_log"], values["expect"]) == (2.5, False, "app")
    assert values["bind"] == (":3", ":4")
    assert values.engine() == EngineSettings(threads=5)
    assert values.application()["max_head"] == 16384
    assert "threads" not in values.application()
    assert read(environ={"RESERVE_BIND": ":5, :6"}, directory=tmp_path)["bind"] == (":5", ":6")
    assert read(directory=tmp_path)["bind"] == (":1", ":2")


def test_tls_options_go_neither_to_the_engine_nor_to_the_application(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text('[server]\ntls-cert = ["a", "b"]\ntls_min_version = "1.3"\n')
    environ = {"RESERVE_TLS_KEY": "c,d", "RESERVE_TLS_CLIENT_CERT": "optional", "RESERVE_TLS_CHECK": "1m"}
    values = read("--tls-client-ca", "ca", "--handshake-timeout=2", environ=environ, directory=tmp_path)
    assert (values["tls_cert"], values["tls_key"]) == (("a", "b"), ("c", "d"))
    assert values.tls() == TLSSettings(min_version="1.3", client_cert="optional", client_ca="ca")
    assert values.engine() == EngineSettings(tls_check=60, handshake_timeout=2)
    assert not [name for name in values.application() if name.startswith("tls")]
    assert values.given_for_application() == []


def test_env_is_merged_by_name(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text('[server.env]\nA = "file"\nB = "file"\n')
    values = read("--env", "B=line", "--env=C=line", directory=tmp_path)
    assert dict(values["env"]) == {"A": "file", "B": "line", "C": "line"}  # type: ignore[call-overload]


def test_the_last_of_two_opposite_flags_wins() -> None:
    assert read("--no-access-log", "--access-log")["access_log"] is True
    assert read("--no-access-log", environ={"RESERVE_ACCESS_LOG": "on"})["access_log"] is False


def test_pyproject_is_read_if_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.other]\nthreads = 'reserve'\n")
    assert read(directory=tmp_path)["threads"] == 16
    project.write_text("[tool.reserve]\nthreads = 7\n")
    assert read(directory=tmp_path)["threads"] == 7
    (tmp_path / "reserve.toml").write_text("[server]\nthreads = 8\n")
    assert read(directory=tmp_path)["threads"] == 8


def test_config_replaces_the_default_file(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text("[server]\nthreads = 8\n")
    (tmp_path / "other.toml").write_text("[server]\nthreads = 9\n")
    assert read("--config", "other.toml", directory=tmp_path)["threads"] == 9
    assert read(environ={"RESERVE_CONFIG": str(tmp_path / "other.toml")}, directory=tmp_path)["threads"] == 9
    with pytest.raises(StartupError, match=r"absent\.toml \(named by --config\): No such file"):
        read("--config", "absent.toml", directory=tmp_path)


def test_a_range_of_threads_is_a_tuple(tmp_path: Path) -> None:
    assert read("--threads", "2:16")["threads"] == (2, 16)
    assert read(environ={"RESERVE_THREADS": "3:3"})["threads"] == (3, 3)
    (tmp_path / "reserve.toml").write_text('[server]\nthreads = "1:4096"\n')
    assert read(directory=tmp_path)["threads"] == (1, 4096)


@pytest.mark.parametrize(
    ("argv", "message"),
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
def test_a_bad_value_on_the_command_line_names_option_and_bounds(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*argv)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("argv", "right"),
    [
        (["--bind", "localhost"], ("localhost:8080",)),
        (["--metrics-bind", "localhost"], ("localhost:9100",)),
        (["--metrics-bind", "8080"], ("localhost:8080",)),
        (["--metrics-bind", "localhost:99999"], ("localhost:9100",)),
        (["--status-path", "server-Status"], ("/server-Status",)),
        (["--access-log-skip", "static/*"], ("/static/*",)),
        (["--root-path", "x/"], ("/x/",)),
    ],
)
def test_the_correction_of_a_bad_value_is_what_was_probably_meant(argv: list[str], right: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        read(*argv)
    assert caught.value.correction is not None
    assert caught.value.correction.right == right


def test_an_empty_path_to_skip_is_not_taken_for_the_root() -> None:
    with pytest.raises(UsageError) as caught:
        read("--access-log-skip", "")
    assert caught.value.correction is None


def test_the_port_of_metrics_is_proposed_for_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "reserve.toml").write_text('[server]\nmetrics-bind = "localhost"\n')
    with pytest.raises(UsageError, match="the port is missing; write localhost:9100"):
        read(directory=tmp_path)


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
def test_a_mistake_in_the_environment_names_the_variable(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_environment({name: text})
    assert message in str(caught.value)


def test_variables_that_others_set_are_ignored_without_a_message() -> None:
    environ = {"RESERVE_CI": "1", "RESERVE_PURE": "1", "RESERVE_SERVICE_HOST": "10.0.0.1"}
    environ["RESERVE_PORT_80_TCP"] = "tcp://10.0.0.1:80"
    environ["RESERVE_PORT"] = environ["RESERVE_WEB_PORT"] = "tcp://10.0.0.1:80"
    environ["RESERVE_WEB_SERVICE_PORT_HTTP"] = environ["RESERVE_WEB_PORT_80_TCP_ADDR"] = "x"
    assert read_environment(environ) == []
    assert unknown_variables(environ) == []


def test_a_variable_that_is_not_an_option_is_ignored_and_listed() -> None:
    environ = {"RESERVE_PORT": "9000", "RESERVE_API_KEY": "x", "RESERVE_THREADS": "3", "RESERVED": "y"}
    assert [item.option.name for item in read_environment(environ)] == ["threads"]
    assert unknown_variables(environ) == ["RESERVE_API_KEY", "RESERVE_PORT"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RESERVE_WORKERS", "RESERVE_PROCESSES"),  # of other servers
        ("RESERVE_PIDFILE", "RESERVE_PID_FILE"),
        ("RESERVE_SSL_CERTFILE", "RESERVE_TLS_CERT"),
        ("RESERVE_PORT", "RESERVE_BIND"),
        ("RESERVE_BNID", "RESERVE_BIND"),  # a slip
        ("RESERVE_LOGGER_CLASS", ""),
        ("RESERVE_API_KEY", ""),
        ("RESERVE_", ""),
    ],
)
def test_a_variable_that_is_not_an_option_may_have_been_meant_for_one(name: str, meant: str) -> None:
    assert probable_variable(name) == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nthread = 4", "thread in {}:2 [server] is not an option; did you mean threads?"),
        ("[server]\nxyzzy = 4", "xyzzy in {}:2 [server] is not an option; reserve --help-all lists"),
        ("[serve]\nthreads = 4", "{}:1 has 'serve' at its top level; did you mean [server]?"),
        ("threads = 4", "{}:1 has 'threads' at its top level; options belong in the table [server]"),
        ("server = 4", "{}:1 [server] is 4; it has to be a table"),
        ("[server]\nthreads = true", "threads in {}:2 [server] is True; allowed is a whole number"),
        ("[server]\nthreads = -1", "threads in {}:2 [server] is -1; allowed"),
        ("[server]\nthreads = 1.5", "threads in {}:2 [server] is 1.5; allowed"),
        ("[server]\nkeep-alive = nan", "keep-alive in {}:2 [server] is nan; allowed is a time"),
        ("[server]\naccess-log = 'yes'", "access-log in {}:2 [server] is 'yes'; allowed is true or false"),
        ("[server]\nunix-mode = 660", "unix-mode in {}:2 [server] is 660; allowed is three or four octal digits"),
        ("[server]\nserver-header = 5", "server-header in {}:2 [server] is 5; allowed is printable"),
        ("[server]\nenv = ['A']", "env in {}:2 [server] is 'A'; allowed is NAME=VALUE"),
        ("[server.env]\nA = 1", "A in {}:2 [server]: env.A is no string; write it in quotes"),
        ("[server]\nbind = [8080]", "bind in {}:2 [server] is 8080; allowed is HOST:PORT"),
        ("[server]\nhelp = true", "help in {}:2 [server] is not an option"),
        ("[server]\nconfig = 'x'", "config in {}:2 [server] is not an option"),
        ("[server]\nhead-timeout = 1\nhead_timeout = 2", "given twice, as head-timeout and as head_timeout"),
        ("[server]\n\n\n# x\nbind = [\n':1',\n]\nthread = 4", "thread in {}:8 [server] is not an option; did you mean"),
        ("server.head-timeout = 1\n\nserver.tred = 4", "tred in {}:3 [server] is not an option"),
        ("server = {threads = 2, backlog = 0}", "backlog in {}:1 [server] is 0; allowed is"),
        (
            "[server]\nworkers = 4",
            "workers in {}:2 [server] is not an option; the nearest is processes",
        ),
        ("[server]\nenv = ['=hunter2']", "env in {}:2 [server] is '=...'; allowed is NAME=VALUE"),
        ("[server]\nbind = " + "[" * 5000 + "]" * 5000, "{} is not valid"),
        ("#" * (1 << 20) + "\n", "{} has more than 1048576 bytes"),
        ("[server", "{} is not valid TOML: "),
    ],
)
def test_a_mistake_in_the_file_names_key_and_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "reserve.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read(directory=tmp_path)
    assert message.format(path) in str(caught.value)


def test_a_mistake_in_pyproject_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\r\n[tool.reserve]\r\nthread = 4\r\n", newline="")
    with pytest.raises(UsageError, match=r"^thread in .*pyproject\.toml:4 \[tool\.reserve\] is not an option"):
        read(directory=tmp_path)


def test_secrets_of_env_are_not_shown(tmp_path: Path) -> None:
    for text in ("[server.env]\nPIN = 1234", "[server]\nenv = ['=1234']", "[server]\nenv = {A = {B = '1234'}}"):
        (tmp_path / "reserve.toml").write_text(text)
        with pytest.raises(UsageError) as caught:
            read(directory=tmp_path)
        assert "1234" not in str(caught.value)


def test_port_is_read_only_when_it_counts() -> None:
    assert read(environ={"PORT": "5000"}).port_address() == "0.0.0.0:5000"
    assert read(environ={"PORT": ""}).port_address() == ""
    assert read().port_address() == ""
    for text in ("tcp://10.0.0.1:80", "65536", "-1", "٣"):
        values = read(environ={"PORT": text})
        with pytest.raises(
            UsageError, match=r"^the environment variable PORT is '.*'; allowed is a whole number from 0"
        ):
            values.port_address()


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"[server]\n# \xff\n")
    with pytest.raises(UsageError, match=r"is not valid TOML"):
        read_file(str(path))


def test_a_pyproject_with_nothing_for_reserve_need_not_be_valid_toml(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text("[project\n")
    assert read(directory=tmp_path)["threads"] == 16
    project.write_text("[project\n[tool.reserve]\nthreads = 4\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml is not valid TOML"):
        read(directory=tmp_path)


@pytest.mark.parametrize(("name", "table"), [("reserve.toml", "[server]"), ("pyproject.toml", "[tool.reserve]")])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str, table: str) -> None:
    (tmp_path / name).write_text(f"{table}\nthreads = 8\n", "utf-8-sig")
    assert read(directory=tmp_path)["threads"] == 8


def test_the_platform_says_how_many_processes_there_are_when_nothing_else_does() -> None:
    assert read(environ={"WEB_CONCURRENCY": "3"}).processes() == 3
    assert read(environ={"WEB_CONCURRENCY": ""}).processes() == 1
    assert read(environ={"WEB_CONCURRENCY": "3", "RESERVE_PROCESSES": "2"}).processes() == 2
    assert read(environ={"WEB_CONCURRENCY": "x", "RESERVE_PROCESSES": "2"}).processes() == 2
    for text in ("0", "-1", "two", "auto"):
        with pytest.raises(
            UsageError, match=r"^the environment variable WEB_CONCURRENCY is '.*'; allowed is a whole number from 1"
        ):
            read(environ={"WEB_CONCURRENCY": text}).processes()
