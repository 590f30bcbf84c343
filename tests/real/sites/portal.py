"""Several applications by path, mounted in code; each responds with its name, SCRIPT_NAME and PATH_INFO."""

from reserve import PathInfoDispatcher


def named(name):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{name} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode("latin-1", "backslashreplace")]

    return application


site, shop, wiki = named("site"), named("shop"), named("wiki")
application = PathInfoDispatcher({"/": site, "/shop": shop, "/shop/wiki": wiki})
