"""The body of a WSGI response: what an application returns or writes, and how it is sent."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from reserve.errors import ApplicationError
from reserve.gateways.response import BLOCK
from reserve.gateways.streams import FileWrapper
from tests.gateways.fakes import PLAIN, FakeExchange, returning, serve


class Sized:
    """A result with ``len()``."""

    def __init__(self, *items: bytes, size: Any = None) -> None:
        self.items = items
        self.size = len(items) if size is None else size

    def __len__(self) -> int:
        if isinstance(self.size, BaseException):
            raise self.size
        return int(self.size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.items)


class OwnList(list[bytes]):
    """A list that iterates as lists do, whatever else it overrides."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: Any) -> Any:
        return b"wrong"


class OwnTuple(NamedTuple):
    first: bytes
    second: bytes


class Computed(list[bytes]):
    """A list that makes its items while it is iterated."""

    def __iter__(self) -> Iterator[bytes]:
        return iter((b"computed ", b"items"))


class Indexed:
    """A result with the older iteration protocol, without ``__iter__``."""

    def __getitem__(self, index: int) -> bytes:
        return [b"a", b"b"][index]


class OddBytes(bytes):
    """A subclass whose length and copy are not those of its content."""

    def __len__(self) -> int:
        return 1

    def __bytes__(self) -> bytes:
        return b"something else"


@pytest.mark.parametrize(
    ("result", "sends", "length"),
    [
        ([b"hello"], [b"hello"], 5),
        ((b"hello",), [b"hello"], 5),
        ([], [], 0),
        ((), [], 0),
        ([b""], [], 0),
        ([b"a", b"", b"bc"], [b"abc"], 3),
        ((b"a", b"b"), [b"ab"], 2),
        (iter([b"a", b"b"]), [b"a", b"b"], None),
        ((item for item in (b"", b"a", b"", b"b", b"")), [b"a", b"b"], None),
        ((item for item in [b""][:0]), [], 0),
        ((item for item in (b"", b"")), [], 0),
        (Sized(b"hello"), [b"hello"], 5),
        (Sized(b"a", b"b"), [b"a", b"b"], None),
        (Sized(), [], 0),
        (Sized(b"a", size=TypeError()), [b"a"], None),
        (Sized(b"a", size=NotImplementedError()), [b"a"], None),
        (Indexed(), [b"a", b"b"], None),
        ({b"only": 1}, [b"only"], 4),
        ([OddBytes(b"odd")], [b"odd"], 3),
        ([b"x" * BLOCK, b"y"], [b"x" * BLOCK, b"y"], BLOCK + 1),
        ([b"x"] * (BLOCK + 2), [b"x" * BLOCK, b"xx"], BLOCK + 2),
        ([b"a", b"x" * BLOCK, b"b", b"c"], [b"a", b"x" * BLOCK, b"bc"], BLOCK + 3),
    ],
)
def test_any_kind_of_iterable_is_sent(result: Any, sends: list[bytes], length: int | None) -> None:
    served = serve(returning(result))
    assert served.exchange.sends == sends
    assert served.exchange.length == length
    assert served.exchange.complete
    assert served.logged == []


@pytest.mark.parametrize("kind", [OwnList, lambda items: OwnTuple(*items), type("Bare", (list,), {})])
def test_a_subclass_of_list_or_tuple_is_sent_as_one_when_it_iterates_like_one(kind: Any) -> None:
    served = serve(returning(kind([b"ab", b"cde"])))
    assert (served.exchange.sends, served.exchange.length, served.exchange.complete) == ([b"abcde"], 5, True)


def test_a_subclass_of_list_with_an_iteration_of_its_own_is_iterated() -> None:
    served = serve(returning(Computed([b"wrong", b"items"])))
    assert (served.exchange.sends, served.exchange.length) == ([b"computed ", b"items"], None)
    assert served.exchange.complete


def test_the_close_of_a_subclass_of_list_is_called_once() -> None:
    class Closing(list[bytes]):
        closed = 0

        def close(self) -> None:
            self.closed += 1

    result = Closing([b"a", b"b"])
    assert serve(returning(result)).exchange.complete
    assert result.closed == 1


def test_a_large_item_of_a_list_is_not_copied() -> None:
    large = b"x" * (2 * BLOCK)
    served = serve(returning([b"small", large]))
    assert served.exchange.sends[1] is large


def test_a_single_item_is_not_copied_and_the_head_is_passed_once() -> None:
    item = b"hello"
    served = serve(returning([item]))
    assert served.exchange.sends[0] is item
    assert len(served.exchange.begins) == 1


def test_a_head_with_content_length_is_passed_on_inside_start_response() -> None:
    begins: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("content-LENGTH", "2")])
        begins.append(len(exchanges[0].begins))
        return [b"ok"]

    exchanges: list[FakeExchange] = []
    served = serve(app, wrap=exchanges.append)
    assert begins == [1]
    assert len(served.exchange.begins) == 1


def test_items_are_sent_one_by_one_while_the_generator_runs() -> None:
    exchanges: list[FakeExchange] = []
    counts: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        for item in (b"a", b"", b"b"):
            yield item
            counts.append(len(exchanges[0].sends))

    assert serve(app, wrap=exchanges.append).exchange.body == b"ab"
    assert counts == [1, 1, 2]


def test_start_response_may_be_called_up_to_the_first_non_empty_item() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b""
        start_response("201 Created", PLAIN)
        yield b"made"

    served = serve(app)
    assert (served.exchange.status, served.exchange.body) == ("201 Created", b"made")
    assert served.exchange.complete


def test_start_response_may_be_called_at_the_end_of_an_empty_generator() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b""
        start_response("200 OK", PLAIN)

    served = serve(app)
    assert (served.exchange.length, served.exchange.complete) == (0, True)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "returned None"),
        ("text", "return [body]"),
        (b"bytes", "return [body]"),
        (42, "not an iterable of bytes"),
        (["text"], "encode it first"),
        (("text",), "encode it first"),
        ([b"a", "text"], "encode it first"),
        (iter(["text"]), "encode it first"),
        ({"text": 1}, "encode it first"),
        ([bytearray(b"a")], "bytearray"),
        ([memoryview(b"a")], "memoryview"),
        ([None], "None"),
        (iter([b"", 7]), "int 7"),
    ],
)
def test_an_invalid_result_is_a_500_with_a_clear_message(result: Any, message: str) -> None:
    served = serve(returning(result))
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)
    assert message in str(served.error)


@pytest.mark.parametrize(
    "result", [[b"a"], (b"a",), [], [b"a", b"b"], iter([b"a"]), iter([]), FileWrapper(io.BytesIO(b"a"))]
)
def test_a_missing_start_response_is_a_500(result: Any) -> None:
    served = serve(lambda environ, start_response: result)
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)
    assert "without a successful start_response()" in str(served.error)


def test_start_response_after_the_first_item_is_a_500() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        yield b"early"
        start_response("200 OK", PLAIN)

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert isinstance(served.error, ApplicationError)


def test_a_coroutine_function_is_a_500() -> None:
    async def app(environ: Any, start_response: Any) -> Any:
        raise AssertionError("never runs")

    served = serve(app)  # type: ignore[arg-type]
    assert served.exchange.ends == ["500"]
    assert "coroutine" in str(served.error)


@pytest.mark.parametrize("result", [[b"three"], [b"th", b"ree"], Sized(b"three"), [b"", b"three"]])
def test_the_result_is_sent_after_written_data(result: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"")
        write(b"one ")
        write(b"two ")
        return result

    served = serve(app)
    assert served.exchange.sends == [b"one ", b"two ", b"three"]
    assert served.exchange.begins == [("200 OK", PLAIN, None)]
    assert served.exchange.complete


def test_write_of_a_str_is_an_error() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)("text")
        return []

    served = serve(app)
    assert served.exchange.ends == ["500"]
    assert "write() got str 'text'" in str(served.error)


def test_calls_after_the_end_of_the_response_are_errors() -> None:
    functions: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        functions.extend((start_response, start_response("200 OK", PLAIN)))
        return [b"done"]

    served = serve(app)
    with pytest.raises(ApplicationError, match="ended"):
        functions[0]("200 OK", PLAIN)
    with pytest.raises(ApplicationError, match="ended"):
        functions[1](b"more")
    assert served.exchange.body == b"done"


@pytest.mark.parametrize(
    ("headers", "start", "body"),
    [(PLAIN, 0, b"0123456789"), (PLAIN, 4, b"456789"), ([("Content-Length", "3")], 4, b"456")],
)
@pytest.mark.parametrize("takes_files", [True, False])
@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_a_file_is_sent_from_its_position_to_its_end_or_content_length(
    tmp_path: pathlib.Path, headers: Any, start: int, body: bytes, takes_files: bool, block_size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    files: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        file = path.open("rb")
        file.seek(start)
        files.append(file)
        start_response("200 OK", list(headers))
        return environ["wsgi.file_wrapper"](file, block_size)

    served = serve(app, takes_files=takes_files)
    assert served.exchange.body == body
    assert served.exchange.complete
    assert served.exchange.files == ([body] if takes_files else [])
    assert files[0].closed


@pytest.mark.parametrize("wrap", [iter, list, lambda wrapper: (item for item in wrapper)])
def test_only_the_wrapper_itself_is_sent_as_a_file(tmp_path: pathlib.Path, wrap: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    class Other(FileWrapper):
        def __next__(self) -> bytes:
            return super().__next__().upper()

    with path.open("rb") as file:
        result = Other(file) if wrap is iter else wrap(FileWrapper(file))
        served = serve(returning(result))
    assert (served.exchange.body, served.exchange.files) == (b"0123456789", [])


def test_a_text_file_in_the_wrapper_is_a_500_and_closed() -> None:
    file = io.StringIO("text")
    served = serve(returning(FileWrapper(file)))  # type: ignore[arg-type]
    assert served.exchange.ends == ["500"]
    assert "the file's read() returned str" in str(served.error)
    assert file.closed


def test_a_file_is_sent_after_written_data() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"head ")
        return environ["wsgi.file_wrapper"](io.BytesIO(b"file"))

    assert serve(app).exchange.body == b"head file"
