"""Writing in the blog: posts, pictures, comments, refused forms, many threads at the same time, and a restart."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path

import pytest

from reserve.examples.blog import launch
from reserve.examples.blog.app import MAX_COMMENT, MAX_PICTURE, MAX_POST
from reserve.examples.blog.store import slug_of
from tests.waiting import PATIENCE

PICTURES = {
    "png": b"\x89PNG\r\n\x1a\n\x00data\r\n--",
    "jpeg": b"\xff\xd8\xff\xe0data",
    "gif": b"GIF89adata",
    "webp": b"RIFF\x10\x00\x00\x00WEBPVP8 data",
}
POST = {"title": "A title", "author": "Ann", "text": "First.\n\nSecond,\nbroken."}
COMMENTS = "/post/hello-from-a-worker-thread/comments"


class CountingInput(io.BytesIO):
    """A ``wsgi.input`` that counts the bytes that were read."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        piece = super().read(size)
        self.bytes_read += len(piece)
        return piece


def test_a_new_post_can_be_read(blog):
    response = blog.post("/write", POST)
    assert (response.status, response.headers["Location"]) == (303, "/post/a-title")
    page = blog.get("/post/a-title").text
    assert "<h1>A title</h1>" in page
    assert "<p>First.</p>\n<p>Second,<br>broken.</p>" in page
    assert "Ann · " in page
    assert "A title" in blog.get("/").text


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_is_served_unchanged_with_the_type_of_its_signature(blog, kind):
    response = blog.upload(POST, PICTURES[kind], filename="../../evil.html")
    assert response.status == 303
    (address,) = re.findall(r'src="(/picture/[^"]+)"', blog.get(response.headers["Location"]).text)
    picture = blog.get(address)
    assert picture.body == PICTURES[kind]
    assert picture.headers["Content-Type"] == f"image/{kind}"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"


def test_the_same_picture_is_stored_once(blog, tmp_path):
    for _ in range(2):
        assert blog.upload(POST, PICTURES["png"]).status == 303
    stored = [file.name for file in (tmp_path / "pictures").iterdir()]
    assert len(stored) == 2  # the other one is the picture of the sample post


@pytest.mark.parametrize(
    "content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"\x89PN", b"RIFF1234WAVE"]
)
def test_a_file_that_is_no_picture_is_refused_and_the_text_is_kept(blog, tmp_path, content):
    response = blog.upload(POST, content)
    assert response.status == 400
    assert "not a PNG, JPEG, GIF or WebP" in response.text
    assert 'value="A title"' in response.text
    assert len(list((tmp_path / "pictures").iterdir())) == 1
    assert "A title" not in blog.get("/").text


def test_an_empty_file_field_is_no_picture(blog):
    response = blog.upload(POST, b"", filename="")
    assert response.status == 303
    assert "<img" not in blog.get(response.headers["Location"]).text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"title": " \n "}, "needs a title"),
        ({"text": ""}, "needs some text"),
        ({"title": "x" * 201}, "The title may have 200 characters"),
        ({"author": "x" * 61}, "Your name may have 60 characters"),
        ({"text": "x" * 20_001}, "The text may have 20,000 characters"),
    ],
)
def test_a_post_with_a_wrong_field_is_refused_with_the_reason(blog, change, message):
    response = blog.post("/write", {**POST, **change})
    assert response.status == 400
    assert message in response.text
    assert "A title" not in blog.get("/").text


def test_a_new_comment_can_be_read(blog):
    response = blog.post(COMMENTS, {"author": "", "text": "Well said."}, SCRIPT_NAME="/blog")
    assert response.status == 303
    address, _, anchor = response.headers["Location"].partition("#")
    page = blog.get(address.removeprefix("/blog")).text
    assert f'<li id="{anchor}">' in page
    assert "<strong>Anonymous</strong>" in page
    assert "2 comments" in page


@pytest.mark.parametrize("fields", [{"text": " "}, {"author": "x" * 61, "text": "x"}, {"text": "x" * 4001}, {}])
def test_a_wrong_comment_is_refused_with_the_reason(blog, fields):
    response = blog.post(COMMENTS, fields)
    assert response.status == 400
    assert 'class="problems"' in response.text
    assert "1 comment<" in blog.get("/post/hello-from-a-worker-thread").text


def test_a_comment_on_a_post_that_does_not_exist_is_404(blog):
    assert blog.post("/post/none/comments", {"text": "x"}).status == 404


def test_no_text_of_a_client_becomes_markup(blog):
    markup = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;"
    location = blog.post("/write", {"title": markup, "author": markup[:50], "text": markup}).headers["Location"]
    blog.post(f"{location}/comments", {"author": markup[:50], "text": markup})
    refused_comment = blog.post(f"{location}/comments", {"author": markup, "text": markup}).text
    refused_post = blog.post("/write", {"title": markup, "author": markup, "text": "</textarea>" + markup}).text
    for page in (refused_comment, refused_post, *(blog.get(address).text for address in ("/", location, "/stream"))):
        assert "&lt;script&gt;" in page
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "\"'>" not in page
    assert refused_post.count("</textarea>") == 1


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_SEC_FETCH_SITE": "same-origin"},
        {"HTTP_SEC_FETCH_SITE": "none"},
        {"HTTP_SEC_FETCH_SITE": "same-origin", "HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": "http://blog.example:8080", "HTTP_HOST": "blog.example:8080"},
        {"HTTP_ORIGIN": "https://blog.example", "HTTP_HOST": "Blog.example:443"},
        {"HTTP_ORIGIN": "https://blog.example", "HTTP_HOST": "blog.example"},
        {},
    ],
)
def test_a_form_of_the_blogs_own_pages_or_of_a_program_is_accepted(blog, environ):
    assert blog.post("/write", POST, **environ).status == 303
    assert blog.post(COMMENTS, {"text": "x"}, **environ).status == 303


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        {"HTTP_SEC_FETCH_SITE": "same-site"},
        {"HTTP_SEC_FETCH_SITE": ""},
        {"HTTP_ORIGIN": "null"},
        {"HTTP_ORIGIN": ""},
        {"HTTP_ORIGIN": "http://[broken"},
        {"HTTP_ORIGIN": "https://evil.example", "HTTP_HOST": "blog.example"},
        {"HTTP_ORIGIN": "http://blog.example:9", "HTTP_HOST": "blog.example"},
        {"HTTP_ORIGIN": "http://blog.example", "HTTP_HOST": "blog.example:443"},
    ],
)
def test_a_form_of_another_site_is_refused(blog, environ):
    assert blog.post("/write", POST, **environ).status == 403
    assert blog.post(COMMENTS, {"text": "x"}, **environ).status == 403
    assert "A title" not in blog.get("/").text


@pytest.mark.parametrize(("address", "limit"), [("/write", MAX_POST), (COMMENTS, MAX_COMMENT)])
def test_a_body_above_the_limit_is_413_and_is_not_read_to_its_end(blog, address, limit):
    form = "application/x-www-form-urlencoded"
    declared = CountingInput(b"x" * (2 * limit))
    response = blog.request(
        "POST", address, CONTENT_TYPE=form, CONTENT_LENGTH=str(2 * limit), **{"wsgi.input": declared}
    )
    assert (response.status, declared.bytes_read) == (413, 0)
    assert f"{limit:,} bytes" in response.text
    chunked = CountingInput(b"x" * (2 * limit))
    response = blog.request(
        "POST", address, CONTENT_TYPE=form, **{"wsgi.input": chunked, "wsgi.input_terminated": True}
    )
    assert (response.status, chunked.bytes_read) == (413, limit + 1)


def test_the_limit_of_a_picture_is_exact(blog):
    assert blog.upload(POST, PICTURES["gif"].ljust(MAX_PICTURE, b"\0")).status == 303
    assert blog.upload(POST, PICTURES["gif"].ljust(MAX_PICTURE + 1, b"\0")).status == 413


def test_a_body_without_a_length_is_read_to_its_end_when_the_input_is_terminated(blog):
    response = blog.upload(POST, PICTURES["png"], **{"wsgi.input_terminated": True})
    assert response.status == 303
    assert "/picture/" in blog.get(response.headers["Location"]).text


def test_a_body_may_arrive_in_small_pieces(blog):
    class SmallPieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    body = b"title=Slow&text=slowly"
    response = blog.request(
        "POST",
        "/write",
        CONTENT_TYPE="application/x-www-form-urlencoded",
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": SmallPieces(body)},
    )
    assert response.headers["Location"] == "/post/slow"


@pytest.mark.parametrize(
    ("environ", "body", "status"),
    [
        ({"CONTENT_TYPE": "application/json"}, b"{}", 415),
        ({"CONTENT_TYPE": ""}, b"title=x&text=y", 415),
        ({"CONTENT_TYPE": "multipart/form-data"}, b"", 400),
        ({"CONTENT_TYPE": "multipart/form-data; boundary=x"}, b"", 400),
        ({"CONTENT_TYPE": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n\r\n--x--", 400),
        ({"CONTENT_LENGTH": "50"}, b"title=x&text=y", 400),
        ({"CONTENT_LENGTH": "1" * 400}, b"title=x&text=y", 413),
        ({"CONTENT_LENGTH": ""}, b"title=x&text=y", 400),
        ({"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}, b"title=x&text=y", 411),
        ({}, b"title=x&text=%FF", 400),
        ({}, b"title=x&text=y&title=z", 400),
        ({}, b"&".join(b"x%d=1" % number for number in range(40)), 400),
        ({}, b"title=x&text=y\xff", 400),
    ],
)
def test_a_malformed_form_is_refused(blog, environ, body, status):
    response = blog.request("POST", "/write", body, **{"CONTENT_TYPE": "application/x-www-form-urlencoded", **environ})
    assert response.status == status
    assert blog.get("/?page=2").text.count("<article") == 2


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Hello, World!", "hello-world"),
        ("Don't  --  stop", "dont-stop"),
        ("Größe & Café", "groe-cafe"),
        ("日本語", "post"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 200, "x" * 60),
        ("-", "post"),
    ],
)
def test_slug_of_has_only_letters_digits_and_hyphens(title, slug):
    assert slug_of(title) == slug


def test_every_post_has_a_slug_of_its_own(blog):
    titles = ["Same", "Same", "Same 8", "Same 10", "Same"]
    addresses = [blog.post("/write", {"title": title, "text": "x"}).headers["Location"] for title in titles]
    assert len(set(addresses)) == len(titles)
    assert addresses[0] == "/post/same"
    assert [re.findall("<h1>(.*)</h1>", blog.get(address).text) for address in addresses] == [[t] for t in titles]


def test_many_threads_write_at_the_same_time_and_nothing_is_lost(blog):
    threads, each = 8, 6
    barrier = threading.Barrier(threads)
    addresses: list[str] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            barrier.wait(PATIENCE)
            for _ in range(each):
                response = blog.upload({**POST, "author": f"Writer {number}"}, PICTURES["png"])
                addresses.append(response.headers["Location"])
                assert blog.post(COMMENTS, {"text": f"by {number}"}).status == 303
                assert blog.get("/").status == 200
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert len(set(addresses)) == threads * each
    archive = blog.get("/stream").text
    assert all(archive.count(f"Writer {number} ·") == each for number in range(threads))
    assert blog.get("/post/hello-from-a-worker-thread").text.count('<li id="comment-') == threads * each + 1


def test_a_restart_keeps_everything(blog, blog_client, tmp_path: Path):
    address = blog.upload(POST, PICTURES["jpeg"]).headers["Location"]
    blog.post(f"{address}/comments", {"text": "still here"})
    before = blog.get("/feed.xml").body
    restarted = blog_client(launch(["reserve http wsgi blog", f"--data={tmp_path}"]))
    page = restarted.get(address).text
    (picture,) = re.findall(r'src="(/picture/[^"]+)"', page)
    assert "still here" in page
    assert restarted.get(picture).body == PICTURES["jpeg"]
    assert restarted.get("/feed.xml").body == before
