"""A toolkit for web applications on localhost, instead of desktop programs: one user, one thread, SQLite-friendly."""

from reserve.desk import forms as forms
from reserve.desk import implementation as implementation
from reserve.desk.formdata import FileUpload
from reserve.desk.request import Request
from reserve.desk.response import Response
from reserve.desk.router import Router, Servlet
from reserve.desk.serving import serve_http
from reserve.desk.session import SessionCookie
from reserve.desk.staticfolder import StaticFolder
from reserve.desk.templatefolder import TemplateFolder
from reserve.desk.templates import Template, TemplateLoop
from reserve.desk.transactionguard import TransactionGuard
from reserve.desk.wsgi import Application

# Not the modules: a program that has a module "forms" of its own may say "from reserve.desk import *".
__all__ = [
    "Application",
    "FileUpload",
    "Request",
    "Response",
    "Router",
    "Servlet",
    "SessionCookie",
    "StaticFolder",
    "Template",
    "TemplateFolder",
    "TemplateLoop",
    "TransactionGuard",
    "serve_http",
]
