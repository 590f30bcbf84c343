"""Templates in files: composite forms, names that stay in the folder, mistakes with their lines, reading again."""

from __future__ import annotations

import errno
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extras import library
from tests.waiting import PATIENCE

library("markupsafe")

from reserve.desk.content import Content, flatten  # noqa: E402
from reserve.desk.templatefolder import TemplateFolder, TemplateNotFound  # noqa: E402
from reserve.desk.templates import SubAssembly, Template, TemplateError, TemplateLoop  # noqa: E402


def text(content: Content) -> str:
    return b"".join(flatten(content)).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret.tpl").write_text("secret")
    write(folder, "page", "<h1>{title}</h1>\n{body}")
    return folder


def write(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.tpl").write_bytes(textwrap.dedent(source).encode())


def test_a_file_is_a_template(folder: Path) -> None:
    tpl = TemplateFolder(folder)
    assert isinstance(tpl("page"), Template)
    assert tpl("page") is tpl("page")
    assert text(tpl("page")(title="<", body=1)) == "<h1>&lt;</h1>\n1"


def test_files_are_utf_8_with_any_line_ends_and_a_byte_order_mark(folder: Path) -> None:
    (folder / "bom.tpl").write_bytes(b"\xef\xbb\xbf  <p>\r\n\xc3\xbc{x}")
    assert text(TemplateFolder(folder)("bom")(x=1)) == "<p>\n\u00fc1"


def test_the_extension_may_be_another_or_none(folder: Path) -> None:
    (folder / "a.html").write_text("1")
    assert text(TemplateFolder(str(folder), ".html")("a")()) == "1"
    assert text(TemplateFolder(folder, "")("a.html")()) == "1"


def test_a_file_in_a_folder_of_the_folder(folder: Path) -> None:
    (folder / "forms").mkdir()
    write(folder, "forms/task", "{x}")
    tpl = TemplateFolder(folder)
    assert text(tpl("forms/task")(x=1)) == "1"
    assert tpl.names() == ["forms/task", "page"]


@pytest.mark.parametrize("end", ["</extend>", "</extend>\n \n", ""])
def test_extend(folder: Path, end: str) -> None:
    write(folder, "task", f"\n<extend> page\n<?title?>Task\n<? body ?>\n  <p>{{x}}</p>\n{end}")
    task = TemplateFolder(folder)("task")
    assert isinstance(task, SubAssembly)
    assert text(task(x="<")) == "<h1>Task</h1>\n<p>&lt;</p>"


def test_extend_what_extends(folder: Path) -> None:
    write(folder, "middle", "<extend>page<?body?><div>{.inner}</div></extend>")
    write(folder, "leaf", "<extend>middle<?inner?>{x}<?title?>T</extend>")
    assert text(TemplateFolder(folder)("leaf")(x=1)) == "<h1>T</h1>\n<div>1</div>"


def test_loop(folder: Path) -> None:
    write(folder, "tasks", "<loop> <ul>\n<?begin?> <li>{x}</li>\n<?end ?> </ul>\n<?else?><p>None.</p>\n</loop>\n")
    write(folder, "bare", "<loop><?begin?>{x},</loop>")
    tpl = TemplateFolder(folder)
    assert isinstance(tpl("tasks"), TemplateLoop)
    assert text(tpl("tasks").loop([{"x": 1}, {"x": 2}])) == "<ul><li>1</li><li>2</li></ul>"
    assert text(tpl("tasks").loop([])) == "<p>None.</p>"
    assert text(tpl("bare").loop([{"x": 1}, {"x": 2}])) == "1,2,"
    assert text(tpl("bare").loop([])) == ""


def test_a_frozen_program_has_its_templates_among_its_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = tmp_path / "bundle"
    (bundle / "templates").mkdir(parents=True)
    (bundle / "templates" / "page.tpl").write_text("bundled")
    monkeypatch.setattr("sys._MEIPASS", str(bundle), raising=False)
    assert text(TemplateFolder("templates")("page")()) == "bundled"
    assert text(TemplateFolder(folder)("page")(title=1, body=2)) == "<h1>1</h1>\n2"
    (bundle / "templates").rename(bundle / "others")
    assert TemplateFolder("templates").folder == Path("templates")


# ---- mistakes ----


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("\n\n<p>\n{x:nope}", 4, ":nope"),
        ("<extend>page\n<?title?>\n\n {x:nope}", 4, ":nope"),
        ("<extend>page\n<?title?>a\n<?title?>b</extend>", 3, "a second <?title?>"),
        ("<extend>page\n<?the title?>a</extend>", 2, "'the title'"),
        ("<extend>page<?title?>a</extend>\n\n<p>", 3, "nothing may follow </extend>, got '<p>'"),
        ("<loop><?begin?>a</loop> x", 1, "nothing may follow </loop>, got 'x'"),
        ("<loop>\n<p>a</loop>", 2, "no <?begin?>"),
        ("<loop><?begin?>\n\n<?esle?>a</loop>", 3, "no 'esle'; did you mean 'else'?"),
        ("<extend>rows<?a?>", 1, "'rows' is a loop"),
    ],
)
def test_mistakes_are_errors_with_the_name_and_the_line(folder: Path, source: str, line: int, message: str) -> None:
    write(folder, "rows", "<loop><?begin?>{x}</loop>")
    write(folder, "wrong", source)
    with pytest.raises(TemplateError) as caught:
        TemplateFolder(folder)("wrong")
    assert (caught.value.template, caught.value.line) == ("wrong", line)
    assert message in str(caught.value)


def test_a_missing_value_is_an_error_with_the_line_in_the_file(folder: Path) -> None:
    write(folder, "task", "\n<extend>page\n<?title?>\nA\n{who}<?body?></extend>")
    with pytest.raises(TemplateError, match=r"template task, line 5: \{who\}"):
        TemplateFolder(folder)("task")(whom=1)


def test_a_field_of_the_base_that_no_part_has_is_an_error_that_lists_the_parts(folder: Path) -> None:
    write(folder, "task", "<extend>page<?titel?>T<?body?>B</extend>")
    with pytest.raises(TemplateError, match=r"template page, line 1: .*: body, titel; did you mean 'titel'\?"):
        TemplateFolder(folder)("task")()


def test_an_unknown_name_is_an_error_that_lists_the_known_ones(folder: Path) -> None:
    write(folder, "task_form", "")
    with pytest.raises(
        TemplateNotFound, match=r"'tsk_form'.* 2 templates: page, task_form; did you mean 'task_form'\?"
    ):
        TemplateFolder(folder)("tsk_form")
    with pytest.raises(FileNotFoundError):
        TemplateFolder(folder)("other")


def test_an_unknown_base_is_an_error_that_names_the_file(folder: Path) -> None:
    write(folder, "task", "\n<extend>\npgae<?title?>T</extend>")
    with pytest.raises(TemplateNotFound, match=r"'pgae'.*which task extends.*did you mean 'page'") as caught:
        TemplateFolder(folder)("task")
    assert caught.value.__notes__ == ["(<extend>pgae is in template task, line 3)"]


def test_templates_that_extend_each_other_are_an_error(folder: Path) -> None:
    write(folder, "a", "<extend>b<?x?>1</extend>")
    write(folder, "b", "<extend>a<?x?>1</extend>")
    tpl = TemplateFolder(folder)
    with pytest.raises(TemplateError, match="a extends b extends a"):
        tpl("a")
    write(folder, "b", "{x}")
    assert text(tpl("a")()) == "1"


def test_threads_may_ask_for_the_same_template(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tpl = TemplateFolder(folder)
    both = threading.Barrier(2, timeout=PATIENCE)
    read_text = Path.read_text

    def wait_and_read(path: Path, encoding: str) -> str:
        both.wait()  # both threads are in the middle of it
        return read_text(path, encoding)

    monkeypatch.setattr(Path, "read_text", wait_and_read)
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: text(tpl("page")(title=1, body=2)), range(2)))
    assert results == ["<h1>1</h1>\n2"] * 2


def test_a_file_that_is_not_utf_8_is_an_error_with_the_line(folder: Path) -> None:
    (folder / "latin.tpl").write_bytes(b"<p>\n\xfc</p>")
    with pytest.raises(TemplateError, match="template latin, line 2: the file is not UTF-8: byte 0xfc"):
        TemplateFolder(folder)("latin")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        TemplateFolder(tmp_path / "nowhere")


# ---- names that stay in the folder ----


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "..", "./page", "/etc/passwd", "a/../../secret", "page\0", "..\\secret", "C:secret", "", "a//b"),
        *(".x", "page/", "forms/.hidden", "\ud800", "x" * 300, "page.tpl/x", "forms"),
    ],
)
def test_names_that_lead_nowhere_are_not_found(folder: Path, name: str) -> None:
    (folder / "forms").mkdir()
    (folder / "forms" / ".hidden.tpl").write_text("hidden")
    (folder / ".x.tpl").write_text("hidden")
    with pytest.raises(TemplateNotFound):
        TemplateFolder(folder)(name)


def test_a_name_that_is_no_text_is_not_found(folder: Path) -> None:
    with pytest.raises(TemplateNotFound, match="template None"):
        TemplateFolder(folder)(None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("secret", "a", "b"):
        (outside / f"{name}.tpl").write_text("outside")
    inside = outside / "inside"
    (inside / "a" / "b").mkdir(parents=True)
    for name in ("a", "b", "a/a", "a/b/a"):
        (inside / f"{name}.tpl").write_text("inside")
    return inside


PARTS = st.sampled_from(["..", ".", "a", "b", "secret", "inside", "", "\0", "\\", "~", "%2e%2e", "..%2f", "a.."])


@given(st.lists(PARTS).map("/".join) | st.text())
def test_no_name_leaves_the_folder(nest: Path, name: str) -> None:
    for extension in (".tpl", ""):
        try:
            template = TemplateFolder(nest, extension)(name)
        except TemplateNotFound:
            continue
        assert text(template()) == "inside"


def test_an_unreadable_file_is_an_error_of_the_system(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # root may read every file
    with pytest.raises(PermissionError):
        TemplateFolder(folder)("page")


# ---- reading again ----


def test_a_wrapped_handle_sees_changed_files_at_each_request(folder: Path) -> None:
    tpl = TemplateFolder(folder)

    def app(request: Any) -> Any:
        return text(tpl("page")(title=request, body=""))

    wrapped = tpl.wrap(app)
    assert wrapped("1") == app("1") == "<h1>1</h1>\n"
    write(folder, "page", "{title}{body}!")
    assert app("2") == "<h1>2</h1>\n"
    assert wrapped("2") == "2!"
    assert app("3") == "3!"


def test_a_wrapped_handle_may_be_a_wsgi_application_of_one_thread(folder: Path) -> None:
    class App:
        single_thread = True

        def __call__(self, environ: Any, start_response: Any = None) -> Any:
            return [environ, start_response]

    wrapped = TemplateFolder(folder).wrap(App())
    assert wrapped({}, len) == [{}, len]
    assert wrapped.single_thread  # type: ignore[attr-defined]


def test_a_subclass_may_choose_the_file_of_a_name(tmp_path: Path) -> None:
    class Translated(TemplateFolder):
        def __call__(self, filename: str) -> Any:
            return super().__call__(f"{filename}_de")

    (tmp_path / "page_de.tpl").write_text("Hallo {name}")
    (tmp_path / "start_de.tpl").write_text("<extend>page <?name?>Welt")
    assert str(Translated(tmp_path)("start")()) == "Hallo Welt"
