"""All names of desk in one module, for programs that import ``kali.implementation``."""

from reserve.desk.bag import Bag
from reserve.desk.formdata import FileUpload, ProtocolError
from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.router import Router, Servlet
from reserve.desk.serving import serve_http
from reserve.desk.session import SessionCookie
from reserve.desk.staticfolder import StaticFolder
from reserve.desk.templatefolder import TemplateFolder
from reserve.desk.templates import AbstractTemplate, SubAssembly, Template, TemplateLoop
from reserve.desk.transactionguard import TransactionGuard
from reserve.desk.wsgi import Application

__all__ = [
    "AbstractTemplate",
    "Application",
    "Bag",
    "FileUpload",
    "ProtocolError",
    "Request",
    "Response",
    "Router",
    "Servlet",
    "SessionCookie",
    "StaticFolder",
    "SubAssembly",
    "Template",
    "TemplateFolder",
    "TemplateLoop",
    "TransactionGuard",
    "serve_http",
]
