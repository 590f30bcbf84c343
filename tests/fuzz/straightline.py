"""Fuzzing of the straight line in C: it makes of a request head, and of what an application says, what Python makes.

``python -m tests.fuzz.straightline [libFuzzer options]`` builds ``straightline.c`` with clang, libFuzzer,
AddressSanitizer and UndefinedBehaviorSanitizer, and runs it. It needs clang with its runtime, and the headers and the
library of the interpreter that runs this (Debian: clang, libclang-rt-14-dev, python3-dev).

An input is one byte and the payload. The bits of the byte choose: 1, a response or a request; 2, few fields or many, or
UTF-8 or Latin-1; 4, whether underscores are refused, or whether one field is not a tuple; 8, whether a request has the
end of its head appended, and 32, what may be its body; 16, whether one field is a subclass of str.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from reserve.apps.http.straightline import LARGEST_HEAD, StraightResponse
from reserve.errors import RemoteError
from reserve.protocol.http1.head import parse_head
from reserve.protocol.http1.limits import Limits
from reserve.protocol.http1.response import response_head
from tests.apps.http import straightbuild
from tests.fuzz.mutation import mutated

HERE = Path(__file__).parent
BASE: dict[str, Any] = {"SCRIPT_NAME": "", "wsgi.url_scheme": "http", "REMOTE_ADDR": "192.0.2.1"}
WIDE = Limits(max_request_line=8192, max_field=8192, max_head=8192)
FEW = replace(WIDE, max_fields=3)
BODY = b"a body\r\n\r\n"
CONTENT = 123
"""Bytes of the body of each response."""
DATE, SERVER = b"Date: now\r\n", b"Server: me\r\n"


class Text(str):
    """No exact str."""

    __slots__ = ()


def check(data: bytes) -> None:
    """Raise AssertionError where the line in C accepts what is not ordinary, or makes something else of it."""
    import _fuzzedline  # type: ignore[import-not-found]

    if data:
        (check_response if data[0] & 1 else check_request)(_fuzzedline, data[0], data[1:])


def check_request(line: Any, choice: int, block: bytes) -> None:
    limits = FEW if choice & 2 else WIDE
    if choice & 8:
        block += b"\r\n\r\n"
    if choice & 32:
        block += BODY
    received = block
    end = received.find(b"\r\n\r\n") + 4
    if not 4 <= end <= LARGEST_HEAD:
        assert line.parse(BASE, received, limits.max_fields) is None, "there is no head, or it is too large"
        return
    block = received[:end]
    head = None
    with contextlib.suppress(RemoteError):
        # First, because the line knows the hosts that Python has checked.
        head = parse_head(block, BASE, limits, refuse_underscores=choice & 4 != 0)
    found = line.parse(BASE, received, limits.max_fields)
    if found is None:
        return
    assert head is not None, "it has to be refused"
    environ, method, target, size, length, closes = found
    assert size == end, "the end of the head"
    assert environ == head.environ, f"{environ} is not {head.environ}"
    assert list(environ) == list(head.environ), "the order of the environ"
    assert (method, target) == (head.method, head.target)
    assert (head.length, head.keep_alive, head.minor, head.expect_continue) == (length, not closes, 1, False)
    assert 0 <= length <= 9999, "more digits than the length of a small body has"
    assert method != "HEAD"
    assert "HTTP_UPGRADE" not in environ
    for key, value in environ.items():
        assert type(key) is str
        assert type(value) is str
        key.encode("ascii"), value.encode("latin-1")  # that each is well-formed


def check_response(line: Any, choice: int, payload: bytes) -> None:
    text = payload.decode("utf-8", "surrogateescape") if choice & 2 else payload.decode("latin-1")
    status, *fields = text.split("\n")
    headers: list[Any] = [tuple(field.split(":", 1)) for field in fields]
    if choice & 4 and headers:
        headers[0] = [*headers[0]]
    if choice & 16 and headers:
        headers[-1] = tuple(map(Text, headers[-1]))
    found = line.begin(status, headers, CONTENT)
    if found is None:
        return
    data, code, length = found
    general = response_head(
        status, headers, minor=1, head_request=False, keep_alive=True, length=CONTENT if length < 0 else length,
        date=DATE, server=SERVER,
    )  # fmt: skip
    assert general.data == data + DATE + SERVER + b"\r\n", f"{data!r} is not {general.data!r}"
    assert (general.length, general.keep_alive, general.dropped) == (CONTENT if length < 0 else length, True, ())
    straight = StraightResponse(cast(Any, None), cast(Any, None), 0.0, 0)
    assert straight._check(status, headers), "the line in Python does not accept it"
    assert (straight.code, straight.length) == (code, length)
    length_line = b"" if length >= 0 else b"Content-Length: %d\r\n" % CONTENT  # the line in Python has the stated one
    assert b"".join(straight.lines) + length_line == data


def seeds() -> list[bytes]:
    from tests.fuzz.seeds import FIELDS, HOST, HOSTS, REQUEST_LINES  # which needs pytest: libFuzzer's program has none

    found = []
    for line in REQUEST_LINES:
        found.append(b"\0" + line + b"\r\n" + HOST + b"\r\n")
    for field in FIELDS:
        found.append(b"\4GET /a%20b?c HTTP/1.1\r\n" + HOST + field + b"\r\n")
        found.append(b"\2POST / HTTP/1.1\r\n" + field + b"Accept: */*\r\nUser-Agent: me\r\n" + HOST + b"\r\n")
    for length in (b"0", b"10", b"04", b"", b"+4", b"4 ", b" 4", b"1_0", b"0x4", b"4,4", b"9999", b"10000", b"\xb2"):
        found.append(b"\x20PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: " + length + b"\r\n\r\n")
        found.append(b"\x28POST /a HTTP/1.1\r\ncontent-length:" + length + b"\r\n" + HOST.rstrip())
    for name in (
        b"cONTENT-lENGTH",
        b"tRANSFER-eNCODING",
        b"eXPECT",
        b"uPGRADE",
        b"hOST",
        b"cONNECTION",
        b"cONTENT-tYPE",
    ):
        found.append(b"\0GET / HTTP/1.1\r\n" + HOST + name + b": 5\r\n\r\n")
    for host in HOSTS:
        found.append(b"\0GET / HTTP/1.1\r\nHost: " + host + b"\r\nReferer: http://there/\r\n\r\n")
    for status in (
        b"200 OK",
        b"404 Not Found",
        b"200 ",
        b"200",
        b"204 No",
        b"100 Go",
        b"999 \xe9",
        b"200 \xe2\x82\xac",
    ):
        found.append(b"\1" + status + b"\nContent-Type:text/plain")
        found.append(b"\3" + status + b"\nX:" + b"y" * 60 + b"\nContent-Length:5")
    for name in ("Date", "Server", "Connection", "Transfer-Encoding", "Content-length", "Upgrade", "Keep-Alive", "TE"):
        found.append(f"\x01200 OK\nSet-Cookie:a=b\n{name}: x".encode())
    return found


def build_module(folder: Path, *flags: str) -> Path:
    """Build ``straightline.c`` as a module, with the sanitizers. Raises CalledProcessError when the compiler cannot."""
    return straightbuild.build(
        folder, *straightbuild.SANITIZERS, *flags, source=HERE / "straightline.c", name="_fuzzedline"
    )


def build_fuzzer(folder: Path) -> Path:
    """Build it as a program of libFuzzer. Raises CalledProcessError when clang, or a library, is missing."""
    variables = sysconfig.get_config_vars()
    target = folder / "fuzzer"
    command = [
        "clang", "-g", "-O1", "-rdynamic", "-DRESERVE_LIBFUZZER", "-fsanitize=fuzzer,address,undefined",
        "-fno-sanitize-recover=undefined", "-fno-sanitize=function", f"-I{sysconfig.get_path('include')}",
        f"-I{sysconfig.get_path('platinclude')}", str(HERE / "straightline.c"), "-o", str(target),
        f"-L{variables['LIBDIR']}", f"-L{variables['LIBPL']}", f"-lpython{variables['LDVERSION']}", "-ldl", "-lm",
        "-lutil",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    return target


def run_fuzzer(program: Path, folder: Path, *options: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run it, with its corpus and the inputs that it stops at in ``folder``."""
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    command = [str(program), f"-dict={HERE / 'http1.dict'}", "-max_len=1024", "-rss_limit_mb=4096",
               f"-artifact_prefix={folder}/", "-print_final_stats=1", *options, str(corpus)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(straightbuild.ROOT), **straightbuild.UNDER_SANITIZERS}
    return subprocess.run(command, env=environment, check=False, capture_output=quiet, text=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["mutated"]:  # FOLDER of the module, and how many inputs
        sys.path.insert(0, sys.argv[2])
        for data in [*seeds(), *mutated(seeds(), int(sys.argv[3]), 1)]:
            check(data)
        print("passed")
    else:
        where = Path(tempfile.mkdtemp())
        print(f"the corpus is in {where}")
        sys.exit(run_fuzzer(build_fuzzer(where), where, *sys.argv[1:]).returncode)
