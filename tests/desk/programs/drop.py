"""Uploads of files with text beside them, and a folder of static files."""

import os
import sys

from reserve.desk import FileUpload, Response, Router, StaticFolder, serve_http

app = Router()
KEPT = {}
app.delegate_folder("/files/", StaticFolder(os.path.join(os.path.dirname(os.path.abspath(__file__)), "drop.files")))


@app.function("/")
def home():
    return ['<form method="post" enctype="multipart/form-data" action="/upload"></form>', sorted(KEPT)]


@app.servlet("/upload")
class Upload:
    def do_POST(self, request):
        lines = []
        for key, value in request.POST.items():
            if isinstance(value, FileUpload):
                name, kind, content = value
                KEPT[name] = value
                lines.append(f"{key}: {name} {kind} {len(content)}\n")
            else:
                lines.append(f"{key}: {value}\n")
        return Response.plain_text(lines)


@app.function("/kept/*")
def kept(name):
    upload = KEPT[name]
    return Response(upload.content, headers={"Content-Type": upload.content_type})


if __name__ == "__main__":
    serve_http(app, port=int(sys.argv[1]), start=None)
