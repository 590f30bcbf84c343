"""Servlets, a service with a wildcard, inline templates with a filter of its own, posted text in UTF-8."""

import sys

import reserve.desk

desk = reserve.desk
BOOKS = [["Emma", 5], ["Ulysses", 2]]
desk.Template.REGISTRY[":stars"] = lambda count: "*" * count
app = desk.Router()
frame = desk.Template("<title>{title}</title><main>{.body}</main>")
row = desk.Template('<li id="b{id}" title="{name}">{name}: {stars:stars}</li>')
price = desk.Template("{n:num} and {n:cents}, {missing}").assembly(missing="<b>{title}</b>")


@app.function("/")
def shelf():
    return frame(title="Books & more", body=[row(id=i, name=n, stars=s) for i, (n, s) in enumerate(BOOKS)])


@app.function("/price/*")
def show_price(amount):
    return price(n=int(amount), title="<t>")


@app.servlet("/add")
class Add:
    def do_GET(self, rq: desk.Request):
        return frame(title="Add", body='<form method="post"><input name="name"></form>')

    def do_POST(self, rq):
        BOOKS.append([rq.POST["name"], int(rq.POST.get("stars", 1))])
        return desk.Response.redirect("/")


@app.servlet("/tags", allow_suffix=True)
class Tags(desk.Servlet):
    def do_GET(self, rq):
        tags = rq.GET.get_list("t")
        return ["suffix ", ",".join(rq.path_suffix()), " list ", ",".join(tags), " last ", rq.GET.get("t", "-")]

    def do_POST(self, rq):
        pairs = [f"{key}={value};" for key, value in rq.POST.items()]
        return desk.Response.plain_text([pairs, "b" in rq.POST, bool(rq.GET)])


@app.service("/book/*/")
class Book:
    def __init__(self, number):
        self.book = BOOKS[int(number)]

    def do_GET_show(self, rq):
        return desk.Response.plain_text([self.book[0], " ", self.book[1]])

    def do_POST_rate(self, rq):
        self.book[1] = int(rq.POST["stars"])
        return desk.Response.redirect(rq.app_url(["show"]))


if __name__ == "__main__":
    desk.serve_http(app, port=int(sys.argv[1]), start=None)
