"""A Django project in one file."""

import atexit
import hashlib
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    DEBUG=False,
    SECRET_KEY="of no use outside the tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware", "django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)
django.setup()

CONTENT = b"".join(b"%07d\n" % number for number in range(400_000))
FOLDER = tempfile.TemporaryDirectory()
atexit.register(FOLDER.cleanup)
FILE = Path(FOLDER.name) / "numbers.txt"
FILE.write_bytes(CONTENT)


@csrf_exempt
def echo(request):
    return HttpResponse(request.body, content_type="application/octet-stream", headers={"X-Method": request.method})


@csrf_exempt
def upload(request):
    file = request.FILES["file"]
    digest = hashlib.sha256()
    for piece in file.chunks():
        digest.update(piece)
    kind = type(file).__name__  # Django stores a file of more than 2.5 MB on the disk
    return JsonResponse(
        {"name": file.name, "size": file.size, "sha256": digest.hexdigest(), "kind": kind, "by": request.POST["by"]}
    )


def stream(request):
    return StreamingHttpResponse((b"%d " % number for number in range(50_000)), content_type="text/plain")


def file(request):
    return FileResponse(FILE.open("rb"), as_attachment=True, filename="numbers.txt")


def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


urlpatterns = [
    path("echo", echo),
    path("upload", upload),
    path("stream", stream),
    path("file", file),
    path("visits", visits),
]
application = get_wsgi_application()
