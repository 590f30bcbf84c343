"""Which handler answers for which path: a tree of path components, in which ``*`` stands for any one component.

A request goes to the deepest place on its path at which something is mounted. A component that is written out goes
before the wildcard, and where that leads to nothing, the search goes back to the wildcard. A place that takes no more
components, like that of a function, counts only for a path that ends there.

Routers are filled when the program starts, and then only read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPMethod
from typing import Any, NamedTuple, TypeVar

from reserve.desk.content import escape
from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.wsgi import Handle, WSGIHandle, name_of
from reserve.errors import counted
from reserve.suggest import suggestion

__all__ = ["Router", "Servlet"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Class = TypeVar("_Class", bound=type)

_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")  # no underscore: do_GET_edit of a service is no do_ of "GET_edit"
_LEADS_OUT = re.compile(r"\A[/\\]|(?:\A|[/\\])\.\.(?:[/\\]|\Z)")
_STANDARD = frozenset(method.value for method in HTTPMethod)


class Servlet:
    """A page with a form: a base for classes under ``@router.servlet``, which need not have it.

    One is made for each request. It has a method for each kind of request: ``do_GET``, ``do_POST``, and so on.
    """

    def do_GET(self, request: Request) -> Any:
        """Answer a GET, and a HEAD unless there is a ``do_HEAD``."""
        raise NotImplementedError(f"{type(self).__qualname__} has no do_GET")

    def do_POST(self, request: Request) -> Any:
        """Answer a POST, such as a form that the user sends."""
        raise NotImplementedError(f"{type(self).__qualname__} has no do_POST")


class _Mount(NamedTuple):
    """What answers at one place of the tree."""

    handle: Handle
    wildcards: tuple[int, ...]
    """At which components of the path it has wildcards."""
    name: str
    """The module and name of the function or class."""
    exact: bool
    """Whether it takes no more components than those of its place."""
    implied: bool
    """Whether it is but the redirect to the same path with a slash: another mount may take its place."""


class _Endpoint:
    """A handle that a router has made. It keeps what the router has to know when a subclass wraps it in ``delegate``.

    :param handle: what answers.
    :param name: the module and name of the function or class behind it.
    :param exact: see :class:`_Mount`.
    :param implied: see there.
    """

    def __init__(self, handle: Handle, name: str, *, exact: bool = False, implied: bool = False) -> None:
        self.answer = handle
        self.name = name
        self.exact = exact
        self.implied = implied
        self.__module__, _, self.__qualname__ = name.rpartition(".")
        self.__name__ = self.__qualname__

    def __call__(self, request: Request) -> Any:
        if self.exact and request.has_suffix():
            return Response.generic(code=404)  # within a wrapper that does not say what it wraps
        return self.answer(request)


class _Node:
    """One component of a path: what is mounted there, and the components that may follow."""

    def __init__(self) -> None:
        self.mount: _Mount | None = None
        self.children: dict[str, _Node] = {}


class Router(WSGIHandle):
    """Sends each request to the function or class that is mounted at its path.

    A router is a handle, ``serve_http(router)``, and a WSGI application, ``reserve app http wsgi module:router``.

    Where something is mounted is a path that begins with a slash, like ``/task/*/edit``. ``*`` stands for any one
    component (an empty one at the end, too), and becomes an argument. No other component may be empty or begin with a
    dot. ``""`` is everything, ``"/"`` only the first page.

    A subclass may override :meth:`delegate`: everything is mounted through it.

    A path that has nothing gets 404. A method that a page does not have gets 405 with Allow, and one that nothing knows
    501. Whatever has GET has HEAD, too. A path with empty or dotted components is redirected to the one without.

    An argument may have slashes in it, where the address has ``%2F``. As a program may take it for the name of a file,
    one that begins with a slash or backslash, or has ``..`` before or after one, gets 404.
    """

    WILDCARD = "*"
    """The component that stands for any."""

    def __init__(self) -> None:
        self._root = _Node()
        self._methods = set(_STANDARD)

    # ---- serving ----

    def _answer(self, request: Request) -> Any:
        """Find the handler of a request and call it; see the class.

        It sets ``request.mount_depth``, ``request.args`` and ``request.handler``.
        """
        redirect = request.normalize()
        if redirect is not None:
            return redirect
        depth, mount = self._find(request.path)
        if mount is None or any(map(_LEADS_OUT.search, request.path)):
            return Response.generic(code=404)
        request.mount_depth = depth
        request.args = [request.path[at] for at in mount.wildcards]
        request.handler = mount.name
        return mount.handle(request)

    def _find(self, path: Sequence[str]) -> tuple[int, _Mount | None]:
        """The deepest mount, and how many components of the path it has. Visits each node of the tree once at most."""
        found: tuple[int, _Mount | None] = -1, None
        waiting = [(0, self._root)]
        while waiting:
            depth, node = waiting.pop()
            at_end = depth == len(path)
            if node.mount is not None and depth > found[0] and (at_end or not node.mount.exact):
                found = depth, node.mount
            if at_end:
                continue
            # the one that is appended last is looked at first
            if path[depth] != self.WILDCARD and self.WILDCARD in node.children:
                waiting.append((depth + 1, node.children[self.WILDCARD]))
            if path[depth] in node.children:
                waiting.append((depth + 1, node.children[path[depth]]))
        return found

    def _refuse(self, request: Request, allowed: Iterable[str]) -> Response:
        """What a method gets that a page does not have. OPTIONS gets to know which it has."""
        allowed = set(allowed)
        if "GET" in allowed:
            allowed.add("HEAD")
        headers = {"allow": ", ".join(sorted({*allowed, "OPTIONS"}))}
        if request.command == "OPTIONS":
            return Response(None, code=204, headers=headers)
        if request.command not in self._methods:
            return Response.generic(code=501)
        response = Response.generic(code=405)
        response.headers.update(headers)
        return response

    # ---- mounting ----

    def delegate(self, where: str, handler: Handle) -> None:
        """Mount any callable of a request, which then answers for everything below ``where``, with every method.

        :param where: see the class.
        :param handler: it finds the rest of the path in ``request.path_suffix()`` and the wildcards in
            ``request.args``. Another router looks at the whole path again, not at the rest.
        :raises ValueError: for a path that is not valid, or that has a handler already.
        :raises TypeError: if ``handler`` cannot be called.
        """
        endpoint: Any = handler
        while not isinstance(endpoint, _Endpoint):
            endpoint = getattr(endpoint, "__wrapped__", None)
            if endpoint is None:
                self._mount(where, handler, name_of(handler))
                return
        if endpoint is handler:
            handler = endpoint.answer
        self._mount(where, handler, endpoint.name, exact=endpoint.exact, implied=endpoint.implied)

    def delegate_folder(self, where: str, handler: Handle) -> None:
        """Mount any callable of a request as a folder, such as a StaticFolder. It always has a suffix.

        :param where: ends with a slash; the same path without it is redirected to the one with it.
        :param handler: see :meth:`delegate`.
        :raises ValueError: as :meth:`delegate`, and for a path without a slash at its end.
        """
        self._mount_folder(where, handler, name_of(handler))

    def function(self, where: str) -> Callable[[_Function], _Function]:
        """Decorate a function that answers GET (and HEAD): ``@app.function("/add/*/*")``.

        The components at the wildcards become positional arguments, those of the query keyword arguments (of several
        with one name the last). All are str. An argument that is missing or that the function does not have gets 400,
        on a page that names it.

        :param where: see the class. With a slash at its end the same path without it is redirected.
        :raises ValueError: as :meth:`delegate`, and if the function does not take as many arguments as there are
            wildcards.
        """

        def decorate(function: _Function) -> _Function:
            check = self._check_arguments(function, where)

            def handle(request: Request) -> Any:
                if request.command not in ("GET", "HEAD"):
                    return self._refuse(request, ("GET",))
                arguments = request.GET.single
                problem = check.problem(arguments)
                if problem is not None:
                    return Response.generic(["<p>", escape(problem), "</p>"], code=400)
                return function(*request.args, **arguments)

            name = name_of(function)
            self.delegate(where or "/", _Endpoint(handle, name, exact=True))
            if where.endswith("/") and where != "/":
                self.delegate(where[:-1], _Endpoint(_add_slash, name, exact=True, implied=True))
            return function

        return decorate

    def servlet(self, where: str, allow_suffix: bool = False) -> Callable[[_Class], _Class]:
        """Decorate a class with a method for each kind of request: ``do_GET(request)``, ``do_POST(request)``.

        One is made for each request; the components at the wildcards are its arguments. A class can be mounted at
        several paths.

        :param where: see the class of the router.
        :param allow_suffix: whether it answers for everything below, too; see ``request.path_suffix()``.
        :raises ValueError: as :meth:`delegate`, and if the class does not take as many arguments as there are
            wildcards.
        """

        def decorate(cls: _Class) -> _Class:
            self._check_class(cls, where)

            def handle(request: Request) -> Any:
                instance = cls(*request.args)
                method = _method(instance, request.command)
                return self._refuse(request, _methods(instance)) if method is None else method(request)

            self.delegate(where, _Endpoint(handle, name_of(cls), exact=not allow_suffix))
            return cls

        return decorate

    def service(self, where: str) -> Callable[[_Class], _Class]:
        """Decorate a class with a method for each kind of request and each page of a folder: ``do_GET_edit(request)``.

        One is made for each request; the components at the wildcards are its arguments.

        :param where: ends with a slash; ``do_GET_edit`` answers for ``edit`` in that folder, ``do_GET_`` for the folder
            itself.
        :raises ValueError: as :meth:`delegate_folder` and :meth:`servlet`.
        """

        def decorate(cls: _Class) -> _Class:
            self._check_class(cls, where)

            def handle(request: Request) -> Any:
                suffix = request.path_suffix()
                if len(suffix) != 1:
                    return Response.generic(code=404)
                instance = cls(*request.args)
                page = f"_{suffix[0]}"
                method = _method(instance, request.command, page)
                if method is not None:
                    request.handler += f".{method.__name__}" if hasattr(method, "__name__") else page
                    return method(request)
                allowed = _methods(instance, page)
                return self._refuse(request, allowed) if allowed else Response.generic(code=404)

            self._mount_folder(where, handle, name_of(cls))
            return cls

        return decorate

    def _check_class(self, cls: type, where: str) -> None:
        if not isinstance(cls, type):
            raise TypeError(f"what is mounted at {where} is a class, got {cls!r:.80}")
        self._check_arguments(cls, where)
        self._methods |= {name.split("_")[1] for name in dir(cls) if name.startswith("do_")}

    def _check_arguments(self, function: Callable[..., Any], where: str) -> _Arguments:
        """What a function or class takes. A subclass with its own ``delegate`` may add wildcards to the path."""
        count = where.split("/").count(self.WILDCARD)
        return _Arguments(function, where, count, strict=type(self).delegate is Router.delegate)

    def _mount_folder(self, where: str, handler: Handle, name: str) -> None:
        if not where.endswith("/"):
            raise ValueError(f"a folder ends with a slash: {where + '/'!r}, not {where!r}")
        if not callable(handler):
            raise TypeError(f"what is mounted at {where} is a callable that takes a Request, got {handler!r:.80}")

        def handle(request: Request) -> Any:
            return handler(request) if request.has_suffix() else _add_slash(request)

        self.delegate(where[:-1], _Endpoint(handle, name))

    def _mount(self, where: str, handler: Handle, name: str, *, exact: bool = False, implied: bool = False) -> None:
        if not callable(handler):
            raise TypeError(f"what is mounted at {where} is a callable that takes a Request, got {handler!r:.80}")
        if where and not where.startswith("/"):
            raise ValueError(f"a path begins with a slash: {'/' + where!r}, not {where!r}")
        path = where.lstrip("/").split("/") if where else []
        if not all(path[:-1]):
            raise ValueError(f"the path {where!r} has an empty component: two slashes one after the other")
        for component in path:
            if component.startswith("."):
                raise ValueError(f"the path {where!r} has a component that begins with a dot, which is reserved")
        node = self._root
        for component in path:
            node = node.children.setdefault(component, _Node())
        if node.mount is not None and not node.mount.implied:
            if implied:
                return
            raise ValueError(f"{node.mount.name} is mounted at the path {where!r}; {name} cannot be, too")
        wildcards = tuple(at for at, component in enumerate(path) if component == self.WILDCARD)
        node.mount = _Mount(handler, wildcards, name, exact, implied)


def _add_slash(request: Request) -> Response:
    return request.moved(request.app_url([""], request.GET))


def _method(instance: object, command: str, page: str = "") -> Callable[[Request], Any] | None:
    """The method of a servlet for a request; GET's for HEAD if it has none of its own."""
    if not _METHOD.fullmatch(command):
        return None
    method = getattr(instance, f"do_{command}{page}", None)
    if method is None and command == "HEAD":
        return _method(instance, "GET", page)
    if getattr(method, "__func__", None) in (Servlet.do_GET, Servlet.do_POST):
        return None  # only Servlet has it
    return method if callable(method) else None


def _methods(instance: object, page: str = "") -> set[str]:
    """The methods that a servlet has."""
    names = {
        name[3 : len(name) - len(page)] for name in dir(instance) if name.startswith("do_") and name.endswith(page)
    }
    return {name for name in names if _METHOD.fullmatch(name) and _method(instance, name, page) is not None}


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """How a function can be called; None if that is not known.

    Of a decorated function that is the signature of the decorator's own function, which may add arguments to those that
    it gets; ``functools.cache`` and the like have none, and add none.
    """
    for follow_wrapped in (False, True):
        try:
            return inspect.signature(function, follow_wrapped=follow_wrapped)
        except (TypeError, ValueError):
            continue
    return None


class _Arguments:
    """The arguments that a function or class takes: looked at before the call, so that a TypeError is always its own.

    :param function: of the program.
    :param where: the path, for the error message.
    :param count: how many arguments come from the path.
    :param strict: whether they are all.
    :raises ValueError: if it does not take so many.
    """

    def __init__(self, function: Callable[..., Any], where: str, count: int, *, strict: bool = True) -> None:
        self._given: set[str] = set()
        self._optional: set[str] = set()
        self._required: list[str] = []
        self._takes_any = False
        signature = _signature(function)
        if signature is None:  # written in C: it has to say itself what is wrong
            self._takes_any = True
            return
        if not strict:
            self._takes_any = True
            return
        left = count
        for parameter in signature.parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                left = 0
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._takes_any = True
            elif left and parameter.kind is not parameter.KEYWORD_ONLY:
                left -= 1
                if parameter.kind is not parameter.POSITIONAL_ONLY:
                    self._given.add(parameter.name)
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                if parameter.default is parameter.empty:
                    left = -1
            elif parameter.default is parameter.empty:
                self._required.append(parameter.name)
            else:
                self._optional.add(parameter.name)
        if left or (isinstance(function, type) and self._required):
            raise ValueError(
                f"the path {where!r} has {counted(count, 'wildcard')}, and {name_of(function)}"
                f"{signature} cannot be called with as many arguments"
            )

    def problem(self, arguments: dict[str, str]) -> str | None:
        """What is wrong with the arguments of a query: a sentence; None if the function takes them."""
        for name in self._required:
            if name not in arguments:
                return f"The address lacks the argument {name!r}: it needs ?{name}=..."
        known = {*self._required, *self._optional}
        for name in arguments:
            if name in self._given:
                return f"The argument {name!r} comes from the path, and cannot come again after the question mark."
            if not self._takes_any and name not in known:
                hint = suggestion(name[:80], known)
                return f"The address has an argument that the page does not know: {name!r:.80}{hint}"
        return None
