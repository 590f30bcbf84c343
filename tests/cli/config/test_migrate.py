"""``reserve migrate``: nothing of the other server's configuration is run, lost without a word, or shown if secret."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from reserve.cli.command import main
from reserve.cli.config.gunicornfile import read_gunicorn_file
from reserve.cli.config.migrate import migrate, migrated
from reserve.errors import UsageError
from reserve.loader.otherservers import BY_NAME, FOREIGN, NOT_READ, OWN_NAMES
from reserve.options.sources import read_file
from reserve.options.table import FILE, FLAGS, usual_value
from reserve.paramtypes import Flag

NOWHERE = "/nonexistent"


def options(text: str) -> dict[str, object]:
    """The values of a file that was printed."""
    return tomllib.loads(text)["server"]  # type: ignore[no-any-return]


def remarks(text: str) -> dict[str, str]:
    """Why something was not carried over, by the name and the line."""
    return dict(re.findall(r"^# - (.*?): (.*)$", text, re.MULTILINE))


def from_python(source: str) -> str:
    return migrated(read_gunicorn_file(source, "gunicorn.conf.py"))


# ---- gunicorn.conf.py ----


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        ("bind = '0.0.0.0:8000'", "bind", ["0.0.0.0:8000"]),
        ("bind = ['127.0.0.1:1', 'unix:/run/x']", "bind", ["127.0.0.1:1", "unix:/run/x"]),
        ("bind = '127.0.0.1:1,[::1]:2'", "bind", ["127.0.0.1:1", "[::1]:2"]),
        ("bind = 'fd://3'", "bind", ["fd:3"]),
        ("bind = 'localhost'", "bind", ["localhost:8000"]),
        ("import os\nbind = f\"0.0.0.0:{os.environ.get('PORT', 8000)}\"", "bind", ["0.0.0.0:8000"]),
        ("import os\nbind = ':' + os.getenv('PORT', default='8000')", "bind", [":8000"]),
        ("from os import environ as e\nbind = ':' + e.get('P', '1')", "bind", [":1"]),
        ("_n = 2\nthreads = _n * 2 + 1", "threads", 5),
        ("N = 7\nN -= 3\nthreads = N // 2", "threads", 2),
        ("threads: int = 3", "threads", 3),
        ("threads = 3\nthreads = 4", "threads", 4),
        ("timeout = 1.5", "request-timeout", "1.5s"),
        ("keepalive = int('5')", "keep-alive", "5s"),
        ("loglevel = 'warning'", "log-level", "warning"),
        ("backlog = 64", "backlog", 64),
        ("certfile = 'a.pem'", "tls-cert", ["a.pem"]),
        ("forwarded_allow_ips = '10.0.0.1,10.0.0.2'", "trusted-proxies", "10.0.0.1,10.0.0.2"),
        ("chdir = '/srv'", "chdir", "/srv"),
        ("limit_request_field_size = 8190", "max-field", 8190),
    ],
)
def test_a_setting_of_gunicorn_becomes_an_option(tmp_path: Path, source: str, key: str, value: object) -> None:
    text = from_python(source)
    assert options(text) == {key: value}
    line = source.count("\n") + 1
    assert re.search(rf"^{key} = .* # \w+, line {line}$", text, re.MULTILINE)
    (tmp_path / "reserve.toml").write_text(text)
    (read,) = read_file(str(tmp_path / "reserve.toml"))
    assert read.option.name == key


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import multiprocessing as mp\nthreads = mp.cpu_count() * 2 + 1", "the processors of the machine: multi"),
        ("from os import cpu_count\nthreads = cpu_count()", "it depends on the processors of the machine: os.cpu"),
        ("import os\nthreads = int(os.environ['N'])", "it is the environment variable N, without a default"),
        ("import os\nthreads = os.environ.get('N')", "it is the environment variable N, without a default"),
        ("import os\nthreads = os.getenv('N', f())", "it would have to call f()"),
        ("threads = x", "x is not known"),
        ("threads = 2 ** 9999999999", "its expression would have to be run"),
        ("threads = 1 << 9999999999", "its expression would have to be run"),
        ("threads = 'x' * 9999999999", "its expression would have to be run"),
        ("threads = 9**1 if 1 else 2", "its expression would have to be run"),
        ("threads = 1 // 0", "its arithmetic fails"),
        ("threads = " + "9" * 100, "its number is too large"),
        ("threads = 1e999", "its number is too large"),
        ("threads = int('x')", "int() fails with its default"),
        ("bind = b'x'", "it is neither a text nor a number"),
        ("bind = '" + "x" * 20_000 + "'", "its text is too long"),
        ("_a = '" + "x" * 9000 + "'\nbind = _a + _a", "its text is too long"),
        ("_a = '" + "x" * 9000 + "'\nbind = f'{_a}{_a}'", "its text is too long"),
        ("bind = [[':1']]", "it is a list of lists"),
        ("bind = [" + "':1'," * 1001 + "]", "its list is too long"),
        ("threads = " + "-" * 60 + "1", "its expression is nested too deeply"),
        ("if True:\n    threads = 4", "it is set under a condition, or in a loop"),
        ("for threads in (1, 2): pass", "it is set under a condition, or in a loop"),
        ("threads, _x = 1, 2", "it is assigned together with others"),
        ("threads = 0", "threads is '0'; allowed is a whole number"),
        ("timeout = -1", "request-timeout is '-1'; allowed is a time"),
        ("forwarded_allow_ips = '*'", "trusted-proxies is '*'; allowed is addresses"),
        ("proxy_protocol = True", "proxy-protocol is 'true'; allowed is"),
        ("workers = f()", "it would have to call f(); processes is nearest"),
        ("umask = '9'", "umask is '9'; allowed is three or four octal digits"),
        ("worker_class = 'gevent'", "reserve has one kind of workers: processes with threads"),
        ("ssl_version = 2", "the nearest is --tls-min-version WORD"),
        ("def pre_fork(server, worker): pass", "reserve calls no functions of a configuration file"),
        ("def post_fork(server, worker): pass", "takes other arguments: --on-process-start names a function"),
        ("def post_request(worker, req): pass", "--on-request-end names a function with one argument"),
        ("async def on_exit(server): pass", "takes other arguments: --on-process-end names a function"),
        ("when_ready = print", "takes other arguments: --on-ready names a function without arguments"),
        ("unheard_of = 1", "reserve migrate does not know it, and nothing is carried over"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_named_with_its_reason(source: str, reason: str) -> None:
    text = from_python(source)
    assert options(text) == {}
    (name,) = remarks(text)
    assert reason in remarks(text)[name]
    assert re.fullmatch(r"\w+, line \d+", name)


def test_a_default_that_a_variable_may_replace_is_said() -> None:
    text = from_python("import os\nbind = ':' + os.environ.get('PORT', '1')\ntimeout = int(os.getenv('T', 9))")
    assert remarks(text)["bind, line 2"] == "the default without PORT; leave bind out, and reserve uses PORT itself"
    assert remarks(text)["timeout, line 3"].startswith("the default without the environment variable T, ")


def test_what_is_off_needs_no_remark_and_helper_names_are_none() -> None:
    source = "daemon = False\nspew = False\nstatsd_host = None\n_x = 1\nBASE = '/srv'\nhome = '/x'\nchdir = home\n"
    text = from_python(source)
    assert (options(text), remarks(text)) == ({"chdir": "/x"}, {})


def test_the_options_of_the_process_are_carried_over() -> None:
    source = "user = 'www-data'\ngroup = 33\numask = 0o27\npidfile = 'run/pid'\ndaemon = True\ninitgroups = True\n"
    text = from_python(source)
    expected = {"pid-file": "run/pid", "umask": "027", "user": "www-data", "group": "33", "daemon": True}
    assert options(text) == expected
    assert remarks(text) == {"initgroups, line 6": "--user always sets the groups of the user"}


def test_nothing_of_the_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: object) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "gunicorn.conf.py").write_text(
        f"open({str(marker)!r}, 'w')\nthreads = open({str(marker)!r}, 'w') and 4\nimport absent\n"
        f'bind = f"{{open({str(marker)!r})}}"\n'
        "chdir = '\\d'\n@print\ndef post_fork(): pass\n"
    )
    assert main(["migrate", str(tmp_path / "gunicorn.conf.py")]) == 0
    captured = capsys.readouterr()
    assert not marker.exists()
    assert captured.err == ""
    assert "# - threads, line 2: " in captured.out


@pytest.mark.parametrize(
    "source",
    ["x = ", "\0", "(" * 500 + ")" * 500, "x = " + "a." * 50_000 + "a", "if 1:\n" + " x = 1\n  y"],
)
def test_a_file_that_is_no_python_is_refused_or_read(source: str) -> None:
    caught = ""
    try:
        from_python(source)
    except UsageError as error:
        caught = str(error)
    assert re.match(r"gunicorn\.conf\.py(:\d+)? is not valid Python: ", caught) or source.count(".") > 10


# ---- uwsgi.ini ----

INI = """
; a comment
[uwsgi]
http-socket = :9090
wsgi-file = shop/wsgi.py
callable = app
master = true
enable-threads = false
processes = 4
threads = 2
harakiri = 60
listen = 256
chdir = %d
logto = /var/log/$(NAME).log
env = TOKEN=hunter2
env = OTHER=hunter2
disable-logging = 1
die-on-term
weird = hunter2
[other]
threads = 9
"""


def test_the_section_of_uwsgi_becomes_options(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text(INI)
    text = migrate(["uwsgi.ini"], str(tmp_path))
    assert options(text) == {
        "bind": [":9090"], "processes": 4, "threads": 2, "request-timeout": "60s", "backlog": 256, "access-log": False,
    }  # fmt: skip
    assert text.startswith(
        "# Made by reserve migrate from uwsgi.ini. Start the server with:\n#   reserve app http wsgi shop.wsgi:app\n"
    )
    assert "hunter2" not in text
    said = remarks(text)
    assert said["chdir, line 13"] == "%d is a variable of uWSGI, which is not translated; chdir sets it"
    assert said["logto, line 14"].startswith("$(NAME) is a variable of uWSGI, which is not translated")
    assert said["env, line 15"].startswith("sets TOKEN; the values may be secrets")
    assert said["weird, line 19"].startswith("reserve migrate does not know it")
    assert not any(name.startswith("enable-threads") for name in said)


@pytest.mark.parametrize(
    ("lines", "bind", "applications"),
    [
        ("socket = 127.0.0.1:3031", ["127.0.0.1:3031"], ["uwsgi"]),
        ("socket = /run/x.sock", ["unix:/run/x.sock"], ["uwsgi"]),
        ("fastcgi-socket = :1\nhttp = :2", [":1", ":2"], ["fcgi", "http"]),
        ("https = :443,c.pem,k.pem", [":443"], ["http"]),
    ],
)
def test_the_application_follows_the_protocol_of_the_socket(
    tmp_path: Path, lines: str, bind: list[str], applications: list[str]
) -> None:
    (tmp_path / "x.ini").write_text(f"[uwsgi]\nmodule = shop:app\n{lines}\n")
    text = migrate(["x.ini"], str(tmp_path))
    assert options(text)["bind"] == bind
    assert re.findall(r"^#   reserve app (\w+) wsgi shop:app$", text, re.MULTILINE) == applications
    assert ("one server speaks one protocol" in text) == (len(applications) > 1)
    if "c.pem" in lines:
        assert (options(text)["tls-cert"], options(text)["tls-key"]) == (["c.pem"], ["k.pem"])


# ---- command lines ----


@pytest.mark.parametrize(
    ("line", "application", "expected"),
    [
        ("gunicorn -w 4 -b :8001 -t10 shop:app -p /run/x --log-level=debug", "shop:app",
         {"bind": [":8001"], "processes": 4, "request-timeout": "10s", "log-level": "debug", "pid-file": "/run/x"}),
        ("env A=b /usr/bin/gunicorn 'shop:create(1)' --threads 3", "'shop:create(1)'", {"threads": 3}),
        ("python3 -m gunicorn --unheard-of shop", "shop", {}),
        ("uwsgi --http :8 -w shop:app -p 4 --master -t 20 -l 99", "shop:app",
         {"bind": [":8"], "processes": 4, "request-timeout": "20s", "backlog": 99}),
        ("waitress-serve --port=8041 --url-prefix=/shop --threads=6 shop:app", "shop:app",
         {"bind": ["0.0.0.0:8041"], "root-path": "/shop", "threads": 6}),
        ("waitress-serve --listen='*:80 [::1]:81' --call shop:create", "'shop:create()'",
         {"bind": [":80", "[::1]:81"]}),
        ("granian --interface wsgi --host ::1 --port 80 --workers 2 --blocking-threads 8 --no-ws shop:app",
         "shop:app", {"bind": ["[::1]:80"], "processes": 2, "threads": 8}),
        ("granian --factory shop:create --uds /run/x", "'shop:create()'", {"bind": ["unix:/run/x"]}),
        ("hypercorn -b 0.0.0.0 -b unix:/x shop:app --keyfile k --certfile c", "shop:app",
         {"bind": ["0.0.0.0:8000", "unix:/x"], "tls-key": ["k"], "tls-cert": ["c"]}),
        ("uvicorn shop:app --port 9000 --root-path /a", "shop:app", {"bind": ["127.0.0.1:9000"], "root-path": "/a"}),
    ],
)  # fmt: skip
def test_a_command_line_becomes_options(line: str, application: str, expected: dict[str, object]) -> None:
    text = migrate([line], NOWHERE)
    assert f"#   reserve app http wsgi {application}\n" in text
    assert options(text) == expected
    assert migrate(shlex.split(line), NOWHERE) == text


def test_the_default_address_of_the_other_server_is_said() -> None:
    assert '# bind = ["127.0.0.1:8000"]' in migrate(["gunicorn shop:app"], NOWHERE)
    assert "127.0.0.1:8000" not in migrate(["gunicorn shop:app -b :1"], NOWHERE)
    assert options(migrate(["gunicorn shop:app"], NOWHERE)) == {}


def test_secrets_are_not_printed() -> None:
    line = "T=hunter2 granian --ssl-keyfile-password hunter2 --env X=hunter2 --unheard-of=hunter2 shop:app"
    text = migrate([line], NOWHERE)
    assert "hunter2" not in text
    assert {"T", "X"} <= set(re.findall(r"sets (\w+);", text))
    assert "hunter2" not in from_python("raw_env = ['A=hunter2']\nlogconfig_dict = {'a': 'hunter2'}\npaste = 'hunter2'")
    with pytest.raises(UsageError) as caught:
        migrate(["T=hunter2 unheard-of"], NOWHERE)
    assert "hunter2" not in str(caught.value)


def test_two_options_with_one_meaning_are_said() -> None:
    text = migrate(["granian --blocking-threads 4 --runtime-threads 2 shop:app"], NOWHERE)
    assert options(text) == {"threads": 4}
    assert remarks(text) == {"--runtime-threads": "threads has the value of --blocking-threads"}


def test_nothing_that_is_given_breaks_out_of_its_comment() -> None:
    text = migrate(["gunicorn", "--x\nthreads = 9\x1b[2J\u2028", "a\nb:app", "-b", "unix:/x\ny"], NOWHERE)
    assert options(text) == {"bind": ["unix:/x\ny"]}
    assert all(char.isprintable() for char in text.replace("\n", ""))


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi", "waitress-serve", "granian", "hypercorn", "uvicorn"])
@pytest.mark.parametrize("entry", FOREIGN, ids=lambda entry: entry.names.split()[0])
def test_every_entry_of_the_table_becomes_an_option_or_a_remark(tmp_path: Path, server: str, entry: object) -> None:
    names = entry.names.split()  # type: ignore[attr-defined]
    for name in names:
        own = BY_NAME.get(OWN_NAMES.get(server, {}).get(name, name))
        if own is None:
            continue
        option = FLAGS.get(own.flag)
        value = "x" if option is None or isinstance(option.kind, Flag) else usual_value(option) or "x"
        words = [name] if own.is_flag else [name, {"localhost:{}": "3", "fd:{}": "3"}.get(own.value, value)]
        text = migrate([server, *words], NOWHERE)
        path = tmp_path / "reserve.toml"
        path.write_text(text)
        read_file(str(path))
        is_application = own.value in ("name", "call") or name == "--callable"
        assert options(text) or remarks(text) or is_application or own.flag == "--version", name


def test_every_name_of_another_server_leads_to_an_entry() -> None:
    for names in OWN_NAMES.values():
        for name in names.values():
            assert name in BY_NAME or FILE in FLAGS[name].sources
    assert not set(NOT_READ) & {name[2:].replace("-", "_") for name in BY_NAME}


# ---- what is given ----


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "reserve migrate takes a file (gunicorn.conf.py, uwsgi.ini) or a command line: "),
        ([""], "reserve migrate takes a file"),
        (["absent.ini"], "there is no file 'absent.ini'; reserve migrate takes a file"),
        (["foo bar"], "knows command lines of gunicorn, uwsgi,"),
        (["gunicorn 'x"], "the command line cannot be split into words: "),
        (["other.ini"], "other.ini has no section [uwsgi]"),
        (["site.yaml"], "site.yaml is neither a gunicorn.conf.py nor a uwsgi.ini"),
        (["latin.ini"], "latin.ini is not UTF-8 text"),
        (["large.py"], "has more than 1048576 bytes"),
    ],
)
def test_what_is_neither_a_file_nor_a_command_line_is_refused(
    workdir: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (workdir / "other.ini").write_text("[server:main]\nuse = egg:waitress\n")
    (workdir / "site.yaml").write_text("x: 1\n")
    (workdir / "latin.ini").write_bytes(b"[uwsgi]\n# \xe4\n")
    (workdir / "large.py").write_text("#" * (1 << 20) + "\n")
    assert main(["migrate", *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_file_that_cannot_be_read_is_an_error_of_the_start(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workdir / "folder.py").mkdir()
    assert main(["migrate", "folder.py"]) == 1
    assert "cannot read folder.py: Is a directory" in capsys.readouterr().err
    assert main(["--threads", "4", "migrate", "x"]) == 2
    assert "migrate has to be the first word" in capsys.readouterr().err
