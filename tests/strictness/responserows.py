"""The rows of what a WSGI application may send, and what becomes of it."""

from __future__ import annotations

from tests.strictness.rows import CLOSED, INCOMPLETE, RESET, ResponseGroup, ResponseRow, failure

__all__ = ["RESPONSES"]

_OK = 'start("200 OK", []); '
_HELLO = 'return [b"hello"]'
_FIVE = 'start("200 OK", [("Content-Length", "5")]); '
_FILE = 'return environ["wsgi.file_wrapper"]'
_LENGTH = ("Content-Length: 5",)
_CHUNKED = ("Transfer-Encoding: chunked",)
_UNSIZED = ("Content-Length", "Transfer-Encoding")

_BODIES = (
    ResponseRow("a list of one piece", _OK + 'return [b"hello"]', fields=_LENGTH, absent=("Transfer-Encoding",)),
    ResponseRow("a list or a tuple of several", _OK + 'return (b"he", b"", b"llo")', fields=_LENGTH),
    ResponseRow("a subclass of `list` or `tuple`", _OK + 'return List([b"he", b"llo"])', fields=_LENGTH),
    ResponseRow("an empty list", _OK + "return []", b"", ("Content-Length: 0",)),
    ResponseRow("one piece in anything else that has a length of 1", _OK + 'return {b"hello"}', fields=_LENGTH),
    ResponseRow("a generator", _OK + 'yield b"he"; yield b"llo"', fields=_CHUNKED, absent=("Content-Length",)),
    ResponseRow(
        "a generator, for a client of HTTP/1.0",
        _OK + 'yield b"he"; yield b"llo"',
        fields=("Connection: close",),
        absent=_UNSIZED,
        ends=CLOSED,
        minor=0,
    ),
    ResponseRow("a generator that yields nothing", _OK + "yield from ()", b"", ("Content-Length: 0",)),
    ResponseRow(
        "empty pieces: they send nothing, not even the head",
        _OK + 'yield b""; yield b"hello"; yield b""',
        fields=_CHUNKED,
    ),
    ResponseRow("any iterable of pieces", _OK + 'return iter([b"he", b"llo"])', fields=_CHUNKED),
    ResponseRow("a subclass of `bytes`", _OK + 'return [Data(b"hello")]', fields=_LENGTH),
    ResponseRow("`write()`, and a body after it", "write = " + _OK + 'write(b"he"); return [b"llo"]', fields=_CHUNKED),
    ResponseRow("`write()` alone", "write = " + _FIVE + 'write(b"he"); write(b"llo"); return []', fields=_LENGTH),
    ResponseRow(
        "`Content-Length`, which is obeyed",
        _FIVE + 'yield b"he"; yield b"llo"',
        fields=_LENGTH,
        absent=("Transfer-Encoding",),
    ),
    ResponseRow(
        "an endless result with `Content-Length`: an empty piece after the last byte ends it",
        _FIVE + 'yield b"hello"; yield from iter(bytes, None)',
        fields=_LENGTH,
    ),
    ResponseRow("the response to HEAD: the head of GET", _OK + _HELLO, b"", _LENGTH, method="HEAD"),
    ResponseRow(
        "no body for HEAD, which says nothing about the length for GET",
        _OK + "return []",
        b"",
        _CHUNKED,
        ("Content-Length",),
        method="HEAD",
    ),
)

_HEADS = (
    ResponseRow("a status without a reason", f'start("404", []); {_HELLO}', status="404 Not Found"),
    ResponseRow("one without a standard reason", f'start("299", []); {_HELLO}', status="299 "),
    ResponseRow("a reason of the application's own", f'start("200 caf\\xe9", []); {_HELLO}', status="200 caf\xe9"),
    ResponseRow("a status up to 999", f'start("701 Meh", []); {_HELLO}', fields=_LENGTH, status="701 Meh"),
    ResponseRow(
        "subclasses of `str`: their characters, whatever methods they override",
        f'start(Text("200 OK"), [(Text("X-A"), Text("b"))]); {_HELLO}',
        fields=("X-A: b",),
    ),
    ResponseRow(
        "a field more than once",
        f'start("200 OK", [("Set-Cookie", "a"), ("Set-Cookie", "b")]); {_HELLO}',
        fields=("Set-Cookie: a", "Set-Cookie: b"),
    ),
    ResponseRow(
        "latin-1, a tab, nothing as a value",
        f'start("200 OK", [("X-A", "caf\\xe9\\tb"), ("X-B", "")]); {_HELLO}',
        fields=("X-A: caf\xe9\tb", "X-B: "),
    ),
    ResponseRow(
        "`Date` and `Server`, which take the place of the server's",
        f'start("200 OK", [("Date", "today"), ("Server", "mine")]); {_HELLO}',
        fields=("Date: today", "Server: mine"),
    ),
    ResponseRow(
        "headers that change after the call: a copy was made",
        f'headers = [("X-A", "b")]; start("200 OK", headers); headers.clear(); {_HELLO}',
        fields=("X-A: b",),
    ),
    ResponseRow(
        "`Connection: close`",
        f'start("200 OK", [("Connection", "close")]); {_HELLO}',
        fields=("Connection: close",),
        ends=CLOSED,
    ),
    ResponseRow(
        "`start_response` again with `exc_info`, before anything is sent",
        f'start("200 OK", [("X-A", "b")]); start("503 Later", [], failure()); {_HELLO}',
        absent=("X-A",),
        status="503 Later",
    ),
    ResponseRow(
        "`start_response` in a generator, up to its first piece that is not empty",
        'yield b""; ' + _OK + 'yield b"hello"',
        fields=_CHUNKED,
    ),
)

_FILES = (
    ResponseRow("a file", f'{_OK}{_FILE}(open(FILE, "rb"))', b"0123456789", ("Content-Length: 10",)),
    ResponseRow(
        "a file, from its position",
        f'{_OK}file = open(FILE, "rb"); file.seek(4); {_FILE}(file)',
        b"456789",
        ("Content-Length: 6",),
    ),
    ResponseRow("a file that is longer than `Content-Length`", f'{_FIVE}{_FILE}(open(FILE, "rb"))', b"01234", _LENGTH),
    ResponseRow("an object with `read()`, in blocks", f'{_OK}{_FILE}(io.BytesIO(b"hello"), 3)', fields=_CHUNKED),
    ResponseRow("a device without an end", f'{_FIVE}{_FILE}(open("/dev/zero", "rb"))', bytes(5), _LENGTH),
    ResponseRow(
        "a file whose size is not that of its content",
        f'{_OK}{_FILE}(open("/proc/version", "rb"))',
        None,
        _CHUNKED,
        ("Content-Length",),
    ),
)


def _hop_by_hop(name: str, value: str) -> ResponseRow:
    return ResponseRow(
        f"`{name}`",
        f'start("200 OK", [("{name}", "{value}")]); {_HELLO}',
        fields=_LENGTH,
        absent=(name,),
        log=f"the application's response header '{name.lower()}' is not sent: only the server sends hop-by-hop fields "
        "(PEP 3333); 'Connection: close' is obeyed (logged once)",
    )


_DROPPED = tuple(
    _hop_by_hop(name, value)
    for name, value in (
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "websocket"),
        ("Trailer", "X-A"),
        ("TE", "trailers"),
        ("Proxy-Connection", "close"),
        ("Proxy-Authenticate", "Basic"),
    )
)

_NO_LIST = "PEP 3333 wants a list, but they are sent (logged once)"
_NO_TUPLE = "PEP 3333 wants a tuple (name, value), but it is sent (logged once)"

_CORRECTED = (
    ResponseRow(
        "headers in a tuple",
        f'start("200 OK", (("X-A", "b"),)); {_HELLO}',
        fields=("X-A: b",),
        log=f"start_response() was given its headers as tuple; {_NO_LIST}",
    ),
    ResponseRow(
        "headers in another iterable",
        f'start("200 OK", {{"X-A": "b"}}.items()); {_HELLO}',
        fields=("X-A: b",),
        log=f"start_response() was given its headers as dict_items; {_NO_LIST}",
    ),
    ResponseRow(
        "a header as a list",
        f'start("200 OK", [["X-A", "b"]]); {_HELLO}',
        fields=("X-A: b",),
        log=f"start_response() was given a header as list; {_NO_TUPLE}",
    ),
    ResponseRow(
        "a `Content-Length` that is only the size which a file states",
        f'start("200 OK", [("Content-Length", "0")]); {_FILE}(open("/proc/version", "rb"))',
        None,
        _CHUNKED,
        ("Content-Length",),
        log="the application's Content-Length, 0, is not sent: it is the size that a file states, and not the "
        "size of its content (/proc, /sys) (logged once)",
    ),
)

_SILENT = (
    ResponseRow(
        "the body of a response to HEAD", _OK + 'yield from iter(lambda: b"tick", None)', b"", _CHUNKED, method="HEAD"
    ),
    ResponseRow(
        "the body of a 204", f'start("204 No Content", []); {_HELLO}', b"", absent=_UNSIZED, status="204 No Content"
    ),
    ResponseRow(
        "`Content-Length` in a 204 (RFC 9110 section 8.6)",
        'start("204 No Content", [("Content-Length", "0")]); return []',
        b"",
        absent=_UNSIZED,
        status="204 No Content",
    ),
    ResponseRow(
        "the body of a 205 (RFC 9110 section 15.3.6)",
        f'start("205 Reset", []); {_HELLO}',
        b"",
        ("Content-Length: 0",),
        status="205 Reset",
    ),
    ResponseRow(
        "the body of a 304, but not its `Content-Length`",
        f'start("304 Not Modified", [("Content-Length", "7")]); {_HELLO}',
        b"",
        ("Content-Length: 7",),
        status="304 Not Modified",
    ),
    ResponseRow(
        "the second of two equal `Content-Length`",
        f'start("200 OK", [("Content-Length", "5"), ("content-length", "5")]); {_HELLO}',
        fields=("content-length: 5",),
    ),
    ResponseRow(
        "leading zeros of `Content-Length`", f'start("200 OK", [("Content-Length", "005")]); {_HELLO}', fields=_LENGTH
    ),
)


_STR = "start_response() wants the status as a str like '200 OK', got "
_DIGITS = "start_response() wants a status of three digits, a space and a reason, like '200 OK', got "
_CODE = (
    " is not a code from 200 to 999, a space and a reason in latin-1 without control characters (RFC 9112 section 4)"
)
_LIST = "start_response() wants a list of headers (PEP 3333), got "
_PAIR = "start_response() wants every header as a tuple (name, value) (PEP 3333), got "
_TEXT = "start_response() wants the name and value of a header to be str (PEP 3333), got "
_VALUE = " has a control character or is not latin-1 (RFC 9110 section 5.5)"
_RESULT = "the application returned "
_WRAP = "; a WSGI response is an iterable of bytes: return [body]"
_ITEM = "the response has an item that is "
_BYTES = ", a WSGI response consists of bytes"
_LONGER = "the response is longer than its Content-Length: "
_SHORTER = "the response is shorter than its Content-Length: "


def _status(name: str, status: str, log: str) -> ResponseRow:
    return failure(name, f"start({status}, []); {_HELLO}", log)


def _headers(name: str, headers: str, log: str) -> ResponseRow:
    return failure(name, f'start("200 OK", {headers}); {_HELLO}', log)


_BAD_HEADS = (
    _status("a status of bytes", 'b"200 OK"', _STR + "bytes b'200 OK'"),
    _status("a number as status", "200", _STR + "int 200"),
    _status("no space after the code", '"200OK"', _DIGITS + "'200OK'"),
    _status("a code of more or fewer digits", '"20 OK"', _DIGITS + "'20 OK'"),
    _status("an interim status (1xx)", '"103 Early Hints"', "the status '103 Early Hints'" + _CODE),
    _status("a line end in the status", '"200 OK\\r\\nX-A: b"', "the status '200 OK\\r\\nX-A: b'" + _CODE),
    _status("a reason that is not latin-1", '"200 \\u20ac"', "the status '200 \u20ac'" + _CODE),
    _headers("no headers", "None", _LIST + "None"),
    _headers("headers in a dictionary", '{"X-A": "b"}', _LIST + "dict {'X-A': 'b'}; pass list(headers.items())"),
    _headers("a header that is no pair", '[("X-A", "b", "c")]', _PAIR + "('X-A', 'b', 'c')"),
    _headers("a header as text", '["X-A: b"]', _PAIR + "'X-A: b'"),
    _headers("a name of bytes", '[(b"X-A", "b")]', _TEXT + "bytes b'X-A' and str 'b': (b'X-A', 'b')"),
    _headers(
        "a value that is no `str`",
        '[("Content-Length", 5)]',
        _TEXT + "str 'Content-Length' and int 5: ('Content-Length', 5)",
    ),
    _headers(
        "a name that is no token: empty, or with a space, a colon, a control",
        '[("X A", "b")]',
        "response header 'X A': the name is not a token (RFC 9110 section 5.1)",
    ),
    _headers(
        "a line end in a value",
        '[("X-A", "b\\r\\nSet-Cookie: c")]',
        "response header 'X-A': the value 'b\\r\\nSet-Cookie: c'" + _VALUE,
    ),
    _headers(
        "another control character in a value",
        '[("X-A", "b\\x00")]',
        "response header 'X-A': the value 'b\\x00'" + _VALUE,
    ),
    _headers(
        "a value that is not latin-1", '[("X-A", "\\u20ac")]', "response header 'X-A': the value '\u20ac'" + _VALUE
    ),
    _headers(
        "`Content-Length` that is no number",
        '[("Content-Length", "+5")]',
        "response header 'Content-Length': '+5' is not a number of bytes (RFC 9110 section 8.6)",
    ),
    _headers(
        "`Content-Length` twice, with different values",
        '[("Content-Length", "5"), ("Content-Length", "6")]',
        "response header 'Content-Length' occurs with 5 and with 6 (RFC 9110 section 8.6)",
    ),
    failure(
        "no `start_response` before the first piece",
        _HELLO,
        "the application responded without a successful start_response(): PEP 3333 requires that call before "
        "the first item of the body that is not empty",
    ),
    failure(
        "`start_response` twice",
        _OK + _OK + _HELLO,
        "start_response() was called twice, with '200 OK' and '200 OK'; only a call with exc_info may replace "
        "a head (PEP 3333)",
    ),
)

_BAD_BODIES = (
    failure("an exception", "1 / 0", "ZeroDivisionError: division by zero"),
    failure(
        "one in a generator, before the first piece that is not empty",
        _OK + 'yield b""; 1 / 0',
        "ZeroDivisionError: division by zero",
    ),
    failure("also one that ends a program", _OK + "sys.exit(3)", "the application failed: SystemExit"),
    failure("None", _OK + "return None", _RESULT + "None, which is not an iterable of bytes"),
    failure("a `str`", _OK + 'return "hello"', _RESULT + "str 'hello'" + _WRAP),
    failure(
        "`bytes` without a list, which would be sent byte by byte",
        _OK + 'return b"hello"',
        _RESULT + "bytes b'hello'" + _WRAP,
    ),
    failure("what is not iterable", _OK + "return 5", _RESULT + "int 5, which is not an iterable of bytes"),
    failure("a piece of text", _OK + 'return ["hello"]', _ITEM + "str 'hello'" + _BYTES + "; encode it first"),
    failure(
        "a piece that may change: `bytearray`, `memoryview`",
        _OK + 'return [bytearray(b"hello")]',
        _ITEM + "bytearray bytearray(b'hello')" + _BYTES,
    ),
    failure(
        "`write()` of text",
        'start("200 OK", [])("hello"); return []',
        "write() got str 'hello'" + _BYTES + "; encode it first",
    ),
    failure(
        "a list that is longer than `Content-Length`", _FIVE + 'return [b"hello", b"!"]', _LONGER + "1 byte too many"
    ),
    failure("a list that is shorter", _FIVE + 'return [b"hell"]', _SHORTER + "1 byte is missing"),
    failure("a first piece that is longer", _FIVE + 'yield b"hello!"', _LONGER + "1 byte too many"),
    failure("no piece at all, with `Content-Length`", _FIVE + 'yield b""', _SHORTER + "5 bytes are missing"),
    failure(
        "a file that is shorter",
        f'start("200 OK", [("Content-Length", "11")]); {_FILE}(open(FILE, "rb"))',
        _SHORTER + "1 byte is missing",
    ),
    failure(
        "a file of text",
        f"{_OK}{_FILE}(open(FILE))",
        "the file's read() returned str '0123456789'" + _BYTES + "; encode it first",
    ),
    failure(
        "a wrapper of what has no `read()`",
        f'{_OK}{_FILE}([b"hello"])',
        "wsgi.file_wrapper wants a file with a read() method, got list",
    ),
    failure(
        "a block size of 0",
        f'{_OK}{_FILE}(io.BytesIO(b"hello"), 0)',
        "wsgi.file_wrapper wants a block size of 1 or more bytes, got 0",
    ),
)

_ABORTED = (
    ResponseRow(
        "an exception after the first piece",
        _OK + 'yield b"hello"; 1 / 0',
        fields=_CHUNKED,
        log="ZeroDivisionError: division by zero",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "the same, with `Content-Length`",
        _FIVE + 'yield b"hell"; 1 / 0',
        b"hell",
        fields=_LENGTH,
        log="ZeroDivisionError: division by zero",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "the same, for a client of HTTP/1.0",
        _OK + 'yield b"hello"; 1 / 0',
        fields=("Connection: close",),
        log="ZeroDivisionError: division by zero",
        ends=RESET,
        minor=0,
    ),
    ResponseRow(
        "`reserve.socket`, on a request with `Upgrade`, after the first piece",
        _OK + 'yield b"hello"; environ["reserve.socket"].send(b"x")',
        fields=_CHUNKED,
        log="reserve.socket was used after the response had begun",
        ends=INCOMPLETE,
        lines=("Connection: upgrade", "Upgrade: x"),
    ),
    ResponseRow(
        "a wrong piece after the first one",
        _OK + 'yield b"hello"; yield "text"',
        fields=_CHUNKED,
        log=_ITEM + "str 'text'" + _BYTES + "; encode it first",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "pieces that are fewer bytes than `Content-Length`",
        _FIVE + 'yield b"he"; yield b"l"',
        b"hel",
        log=_SHORTER + "2 bytes are missing",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "pieces that are more bytes than `Content-Length`: they are cut",
        _FIVE + 'yield b"he"; yield b"llo!"',
        fields=_LENGTH,
        log=_LONGER + "1 byte too many",
        ends=CLOSED,
    ),
    ResponseRow(
        "`start_response` with `exc_info`, which raises that exception",
        _OK + 'yield b"hello"; start("500 Oh", [], failure())',
        fields=_CHUNKED,
        log="KeyError: 'failure'",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "`start_response` with an `exc_info` that has no exception",
        _OK + 'yield b"hello"; start("500 Oh", [], (None, None, None))',
        fields=_CHUNKED,
        log="start_response() got an exc_info without an exception, after the head was sent and cannot be replaced",
        ends=INCOMPLETE,
    ),
    ResponseRow(
        "`close()` of the result raises",
        _OK + 'return Closing([b"hello"])',
        log="close() of the response failed: LookupError",
        fields=_CHUNKED,
    ),
)


RESPONSES: dict[str, dict[str, ResponseGroup]] = {
    "Sent": {
        "Bodies": ResponseGroup(
            "The server frames the body: with `Content-Length` where it knows the length before the first byte leaves, "
            "otherwise with chunks, and for a client of HTTP/1.0 by the end of the connection. `hello` is all that the "
            "client gets of the body, unless the row says otherwise.",
            _BODIES,
        ),
        "Heads": ResponseGroup(
            "The server adds `Date`, `Server`, what frames the body and `Connection`. The rest is sent as it is, in "
            "its order.",
            _HEADS,
        ),
        "Files": ResponseGroup(
            '`environ["wsgi.file_wrapper"](file, block_size)`, returned itself: a regular file of the disk is sent '
            "without being read, from its position to its end or to `Content-Length`. Anything else with a `read` is "
            "read in blocks.",
            _FILES,
        ),
    },
    "Mended": {
        "Hop-by-hop fields": ResponseGroup(
            "They belong to the server's connection with its client (PEP 3333; RFC 9110 section 7.6.1). They are not "
            "sent, and the error log says so once for each.",
            _DROPPED,
        ),
        "Forms that PEP 3333 does not have": ResponseGroup(
            "What is meant is sent, and the error log says once for each kind what should have come.",
            _CORRECTED,
        ),
        "Dropped without a log entry": ResponseGroup(
            "A client must not get these, or gains nothing by them, and many correct applications make them.",
            _SILENT,
        ),
    },
    "A 500": {
        "Wrong heads": ResponseGroup(
            "Nothing has been sent yet, so the client gets `500 Internal Server Error` instead, and the connection is "
            "closed. Each of these errors is raised inside `start_response` or after it, wherever it is found first.",
            _BAD_HEADS,
        ),
        "Wrong bodies": ResponseGroup(
            "As long as nothing has been sent. The head leaves with the first piece that is not empty.",
            _BAD_BODIES,
        ),
    },
    "Too late for a 500": {
        "After the head was sent": ResponseGroup(
            "The connection is closed after what was sent. The client can tell that it is not all: the last chunk or a "
            "part of `Content-Length` is missing; where neither is there, the connection is reset. Only a response "
            "whose bytes are all there, as in the last rows, looks complete.",
            _ABORTED,
        ),
    },
}
"""Every row, by the section and the title of its table."""
