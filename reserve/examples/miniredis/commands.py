"""The commands of a miniredis: functions of the database and the arguments, the name first, that return the reply.

A command does what its page on https://redis.io/commands says, with the options that its docstring names. The caller
holds the database's lock.
"""

from __future__ import annotations

import fnmatch
import math
import re
import zlib
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Literal

from reserve.examples.miniredis.database import ENTRY, CommandError, Database, SortedSet, wrong_kind
from reserve.examples.miniredis.resp import NIL, OK, array, bulk, error, integer, strings

__all__ = ["COMMANDS", "Quit", "execute"]

Arguments = list[bytes]
Command = Callable[[Database, Arguments], bytes]

COMMANDS: dict[bytes, tuple[Command, int, int]] = {}
"""By name in upper case: the function, and how many arguments it takes at least and at most, the name counted."""

_INTEGER = re.compile(rb"0|-?[1-9][0-9]{0,18}")
_MOST = 2**63 - 1
_DIGITS = 18
"""So many digits are always a number of 64 bits."""
_MAX_PATTERN = 1024
"""Bytes; a regular expression is made of it."""
_SLICES = 64
"""Parts in which SCAN returns a large database."""
_SYNTAX = "ERR syntax error"


class Quit(Exception):
    """The client wants to disconnect."""


def execute(database: Database, arguments: Arguments) -> bytes:
    """Carry out a command and return its reply; errors are replies, too. Raises Quit for QUIT."""
    name = arguments[0]
    entry = COMMANDS.get(name) or COMMANDS.get(name.upper())
    if entry is None:
        return error(f"ERR unknown command '{name[:64].decode('latin-1')}'")
    command, least, most = entry
    if not least <= len(arguments) <= most:
        return error(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
    try:
        return command(database, arguments)
    except CommandError as problem:
        return error(str(problem))


def _command(least: int, most: int | None = None) -> Callable[[Command], Command]:
    """Add the function to :data:`COMMANDS`, under its own name.

    :param least: arguments, with the name of the command.
    :param most: None: as many as ``least``; 0: any number.
    """

    def add(function: Command) -> Command:
        name = function.__name__.rstrip("_").upper().encode()
        COMMANDS[name] = (function, least, least if most is None else most or 1 << 30)
        return function

    return add


def _integer(text: bytes) -> int:
    """A number of 64 bits."""
    if text.isdigit() and len(text) <= _DIGITS and not text.startswith(b"0"):  # nearly all
        return int(text)
    if not _INTEGER.fullmatch(text) or not -_MOST - 1 <= (value := int(text)) <= _MOST:
        raise CommandError("ERR value is not an integer or out of range")
    return value


def _float(text: bytes) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise CommandError("ERR value is not a valid float")
    return value


def _matching(pattern: bytes) -> Callable[[bytes], object]:
    """A function that says whether a key matches a pattern (``*``, ``?``, ``[a-c]``)."""
    if len(pattern) > _MAX_PATTERN:
        raise CommandError(f"ERR a pattern has at most {_MAX_PATTERN} bytes")
    if pattern == b"*":
        return lambda key: True
    # Several stars in a row mean what one means, and would take much longer.
    expression = fnmatch.translate(re.sub(r"\*+", "*", pattern.decode("latin-1")))
    return re.compile(expression.encode("latin-1")).match


# ---- the connection and the server ----


@_command(1, 2)
def ping(database: Database, arguments: Arguments) -> bytes:
    return b"+PONG\r\n" if len(arguments) == 1 else bulk(arguments[1])


@_command(2)
def echo(database: Database, arguments: Arguments) -> bytes:
    return bulk(arguments[1])


@_command(1)
def quit_(database: Database, arguments: Arguments) -> bytes:
    raise Quit


@_command(1, 0)
def hello(database: Database, arguments: Arguments) -> bytes:
    """Only version 2 of the protocol; without AUTH and SETNAME."""
    if len(arguments) > 1 and _integer(arguments[1]) != 2:
        return error("NOPROTO unsupported protocol version")
    if len(arguments) > 2:
        raise CommandError(_SYNTAX)
    facts = {b"server": b"miniredis", b"version": b"7.0.0", b"mode": b"standalone", b"role": b"master"}
    replies = [bulk(text) for fact in facts.items() for text in fact]
    return array([*replies, bulk(b"proto"), integer(2), bulk(b"modules"), array([])])


@_command(2)
def select(database: Database, arguments: Arguments) -> bytes:
    """There is one database, 0."""
    return OK if arguments[1] == b"0" else error("ERR DB index is out of range")


@_command(2, 0)
def client(database: Database, arguments: Arguments) -> bytes:
    """SETNAME, SETINFO (which clients send at their start, and nothing needs) and GETNAME."""
    if arguments[1].upper() in (b"SETNAME", b"SETINFO"):
        return OK
    return NIL if arguments[1].upper() == b"GETNAME" else error("ERR unknown subcommand of CLIENT")


@_command(2, 0)
def config(database: Database, arguments: Arguments) -> bytes:
    """GET: nothing is saved, and ``maxmemory``."""
    if arguments[1].upper() != b"GET" or len(arguments) < 3:
        return error("ERR only CONFIG GET is there; options of the command line set the limits")
    settings = {b"save": b"", b"appendonly": b"no", b"maxmemory": b"%d" % database.max_memory, b"databases": b"1"}
    wanted = [_matching(pattern.lower()) for pattern in arguments[2:]]
    found = [pair for pair in settings.items() if any(matches(pair[0]) for matches in wanted)]
    return strings(text for pair in found for text in pair)


@_command(1, 0)
def command(database: Database, arguments: Arguments) -> bytes:
    """COUNT; DOCS, which are empty; and the list, with nothing but names and how many arguments they take."""
    what = arguments[1].upper() if len(arguments) > 1 else b""
    if what == b"COUNT":
        return integer(len(COMMANDS))
    if what == b"DOCS":
        return array([])
    if what:
        return error("ERR unknown subcommand of COMMAND")
    rest = [array([]), *[integer(0)] * 3]
    return array(
        [
            array([bulk(name.lower()), integer(least if least == most else -least), *rest])
            for name, (_, least, most) in COMMANDS.items()
        ]
    )


@_command(1, 0)
def info(database: Database, arguments: Arguments) -> bytes:
    text = (
        "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\nserver_name:miniredis\r\n\r\n"
        f"# Memory\r\nused_memory:{database.used}\r\nmaxmemory:{database.max_memory}\r\n\r\n"
        f"# Keyspace\r\ndb0:keys={len(database.values)}\r\n"
    )
    return bulk(text.encode())


# ---- keys ----


@_command(2, 0)
def del_(database: Database, arguments: Arguments) -> bytes:
    return integer(sum(map(database.delete, arguments[1:])))


COMMANDS[b"UNLINK"] = COMMANDS[b"DEL"]


@_command(2, 0)
def exists(database: Database, arguments: Arguments) -> bytes:
    return integer(sum(key in database.values for key in arguments[1:]))


@_command(2)
def type_(database: Database, arguments: Arguments) -> bytes:
    names = {bytes: "string", deque: "list", set: "set", dict: "hash", SortedSet: "zset", type(None): "none"}
    return b"+%b\r\n" % names[type(database.values.get(arguments[1]))].encode()


@_command(3)
def expire(database: Database, arguments: Arguments) -> bytes:
    """Without NX, XX, GT and LT."""
    return _expire(database, arguments, 1)


@_command(3)
def pexpire(database: Database, arguments: Arguments) -> bytes:
    """Without NX, XX, GT and LT."""
    return _expire(database, arguments, 1000)


def _expire(database: Database, arguments: Arguments, unit: int) -> bytes:
    """:param unit: so many of the number are a second."""
    seconds = _integer(arguments[2]) / unit
    if arguments[1] not in database.values:
        return integer(0)
    database.expire(arguments[1], database.now + seconds)
    return integer(1)


@_command(2)
def persist(database: Database, arguments: Arguments) -> bytes:
    if database.expires(arguments[1]) is None:
        return integer(0)
    database.expire(arguments[1], None)
    return integer(1)


@_command(2)
def ttl(database: Database, arguments: Arguments) -> bytes:
    return _ttl(database, arguments[1], 1)


@_command(2)
def pttl(database: Database, arguments: Arguments) -> bytes:
    return _ttl(database, arguments[1], 1000)


def _ttl(database: Database, key: bytes, unit: int) -> bytes:
    expires = database.expires(key)
    if expires is None:
        return integer(-1 if key in database.values else -2)
    return integer(round((expires - database.now) * unit))


@_command(2)
def keys(database: Database, arguments: Arguments) -> bytes:
    matches = _matching(arguments[1])
    return strings([key for key in database.values if matches(key)])


@_command(2, 8)
def scan(database: Database, arguments: Arguments) -> bytes:
    """With MATCH and COUNT. A small database is returned at once.

    A large one is returned in 64 parts, by a checksum of the key. So a key that is there from the first call to the
    last is returned once, whatever happens to the others meanwhile.
    """
    cursor, pattern, count = _integer(arguments[1]), b"*", 10
    for option, value in _pairs(arguments[2:]):
        if option == b"MATCH":
            pattern = value
        elif option == b"COUNT":
            count = _integer(value)
        else:
            raise CommandError(_SYNTAX)
    if not 0 <= cursor < _SLICES or count < 1:
        raise CommandError("ERR invalid cursor")
    matches = _matching(pattern)
    if cursor == 0 and len(database.values) <= max(count, 1000):
        return array([bulk(b"0"), strings([key for key in database.values if matches(key)])])
    found = [key for key in database.values if zlib.crc32(key) % _SLICES == cursor and matches(key)]
    return array([bulk(b"%d" % ((cursor + 1) % _SLICES)), strings(found)])


def _pairs(arguments: Arguments) -> list[tuple[bytes, bytes]]:
    """Options in upper case, and their values."""
    if len(arguments) % 2:
        raise CommandError(_SYNTAX)
    return [(arguments[at].upper(), arguments[at + 1]) for at in range(0, len(arguments), 2)]


@_command(1)
def dbsize(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.values))


@_command(1, 2)
def flushall(database: Database, arguments: Arguments) -> bytes:
    database.clear()
    return OK


COMMANDS[b"FLUSHDB"] = COMMANDS[b"FLUSHALL"]


# ---- strings ----


@_command(2)
def get(database: Database, arguments: Arguments) -> bytes:
    value = database.values.get(arguments[1])
    if value is None:
        return NIL
    if type(value) is not bytes:
        raise wrong_kind()
    return b"$%d\r\n%b\r\n" % (len(value), value)


@_command(3, 9)
def set_(database: Database, arguments: Arguments) -> bytes:
    """With EX, PX, KEEPTTL, NX, XX and GET."""
    if len(arguments) == 3:  # nearly all
        database.set(arguments[1], arguments[2])
        return OK
    key, value = arguments[1:3]
    options = iter(arguments[3:])
    expires: float | None = None
    flags = set()
    for option in map(bytes.upper, options):
        if option in (b"EX", b"PX"):
            amount = _integer(next(options, b""))
            if amount <= 0:
                raise CommandError("ERR invalid expire time in 'set' command")
            flags.add(b"EX")
            expires = database.now + (amount if option == b"EX" else amount / 1000)
        elif option in (b"NX", b"XX", b"GET", b"KEEPTTL"):
            flags.add(option)
        else:
            raise CommandError(_SYNTAX)
    if flags >= {b"NX", b"XX"} or flags >= {b"EX", b"KEEPTTL"}:
        raise CommandError(_SYNTAX)
    before = database.string(key) if b"GET" in flags else None
    is_set = (key not in database.values) if b"NX" in flags else (b"XX" not in flags or key in database.values)
    if is_set:
        database.set(key, value, expires=expires, keep_expiry=b"KEEPTTL" in flags)
    if b"GET" in flags:
        return NIL if before is None else bulk(before)
    return OK if is_set else NIL


@_command(2, 0)
def mget(database: Database, arguments: Arguments) -> bytes:
    values = [database.values.get(key) for key in arguments[1:]]
    return array([bulk(value) if isinstance(value, bytes) else NIL for value in values])


@_command(3, 0)
def mset(database: Database, arguments: Arguments) -> bytes:
    if not len(arguments) % 2:
        raise CommandError("ERR wrong number of arguments for 'mset' command")
    for at in range(1, len(arguments), 2):
        database.set(arguments[at], arguments[at + 1])
    return OK


@_command(2)
def incr(database: Database, arguments: Arguments) -> bytes:
    return _add(database, arguments[1], 1)


@_command(2)
def decr(database: Database, arguments: Arguments) -> bytes:
    return _add(database, arguments[1], -1)


@_command(3)
def incrby(database: Database, arguments: Arguments) -> bytes:
    return _add(database, arguments[1], _integer(arguments[2]))


@_command(3)
def decrby(database: Database, arguments: Arguments) -> bytes:
    return _add(database, arguments[1], -_integer(arguments[2]))


def _add(database: Database, key: bytes, amount: int) -> bytes:
    before = database.string(key)
    value = amount if before is None else _integer(before) + amount
    if not -_MOST - 1 <= value <= _MOST:
        raise CommandError("ERR increment or decrement would overflow")
    database.set(key, b"%d" % value, keep_expiry=True)
    return integer(value)


@_command(3)
def append(database: Database, arguments: Arguments) -> bytes:
    value = (database.string(arguments[1]) or b"") + arguments[2]
    if len(value) > database.max_value:
        raise CommandError(f"ERR string exceeds maximum allowed size: --max-value is {database.max_value}")
    database.set(arguments[1], value, keep_expiry=True)
    return integer(len(value))


@_command(2)
def strlen(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.string(arguments[1]) or b""))


# ---- lists ----


@_command(3, 0)
def lpush(database: Database, arguments: Arguments) -> bytes:
    elements = arguments[2:]
    value = database.made(deque, arguments[1], elements)
    value.extendleft(elements)
    return integer(len(value))


@_command(3, 0)
def rpush(database: Database, arguments: Arguments) -> bytes:
    elements = arguments[2:]
    value = database.made(deque, arguments[1], elements)
    value.extend(elements)
    return integer(len(value))


@_command(2, 3)
def lpop(database: Database, arguments: Arguments) -> bytes:
    return _pop(database, arguments, "left")


@_command(2, 3)
def rpop(database: Database, arguments: Arguments) -> bytes:
    return _pop(database, arguments, "right")


def _pop(database: Database, arguments: Arguments, end: Literal["left", "right"]) -> bytes:
    value = database.collection(deque, arguments[1])
    count = _integer(arguments[2]) if len(arguments) > 2 else 1
    if count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    if value is None:
        return NIL if len(arguments) == 2 else b"*-1\r\n"
    pop = value.popleft if end == "left" else value.pop
    elements = [pop() for _ in range(min(count, len(value)))]
    database.removed(arguments[1], elements)
    return bulk(elements[0]) if len(arguments) == 2 else strings(elements)


@_command(2)
def llen(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.collection(deque, arguments[1]) or ()))


@_command(4)
def lrange(database: Database, arguments: Arguments) -> bytes:
    first, last = _integer(arguments[2]), _integer(arguments[3])
    value = database.collection(deque, arguments[1])
    if value is None:
        return array([])
    first = max(0, first + len(value) if first < 0 else first)
    last = min(len(value) - 1, last + len(value) if last < 0 else last)
    return strings(islice(value, first, last + 1)) if first <= last else array([])


# ---- hashes ----


@_command(4, 0)
def hset(database: Database, arguments: Arguments) -> bytes:
    if len(arguments) % 2:
        raise CommandError("ERR wrong number of arguments for 'hset' command")
    added = 0
    for field, text in zip(arguments[2::2], arguments[3::2], strict=True):
        value = database.made(dict, arguments[1], (field + text,))
        before = value.get(field)
        if before is None:
            added += 1
        else:
            database.used -= len(field) + len(before) + ENTRY
        value[field] = text
    return integer(added)


@_command(3)
def hget(database: Database, arguments: Arguments) -> bytes:
    text = (database.collection(dict, arguments[1]) or {}).get(arguments[2])
    return NIL if text is None else bulk(text)


@_command(3, 0)
def hdel(database: Database, arguments: Arguments) -> bytes:
    value = database.collection(dict, arguments[1]) or {}
    removed = [field + value.pop(field) for field in arguments[2:] if field in value]
    if removed:
        database.removed(arguments[1], removed)
    return integer(len(removed))


@_command(2)
def hgetall(database: Database, arguments: Arguments) -> bytes:
    pairs = (database.collection(dict, arguments[1]) or {}).items()
    return strings([text for pair in pairs for text in pair])


@_command(2)
def hlen(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.collection(dict, arguments[1]) or ()))


# ---- sets ----


@_command(3, 0)
def sadd(database: Database, arguments: Arguments) -> bytes:
    members = arguments[2:]
    value = database.made(set, arguments[1], members)
    added = 0
    for member in members:
        if member in value:
            database.used -= len(member) + ENTRY
        else:
            value.add(member)
            added += 1
    return integer(added)


@_command(3, 0)
def srem(database: Database, arguments: Arguments) -> bytes:
    value = database.collection(set, arguments[1]) or set()
    removed = {member for member in arguments[2:] if member in value}
    value -= removed
    if removed:
        database.removed(arguments[1], removed)
    return integer(len(removed))


@_command(2)
def spop(database: Database, arguments: Arguments) -> bytes:
    """One member: any, but not at random."""
    value = database.collection(set, arguments[1])
    if value is None:
        return NIL
    member = value.pop()
    database.removed(arguments[1], (member,))
    return bulk(member)


@_command(3)
def sismember(database: Database, arguments: Arguments) -> bytes:
    return integer(arguments[2] in (database.collection(set, arguments[1]) or ()))


@_command(2)
def smembers(database: Database, arguments: Arguments) -> bytes:
    return strings(database.collection(set, arguments[1]) or ())


@_command(2)
def scard(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.collection(set, arguments[1]) or ()))


# ---- sorted sets ----


@_command(4, 0)
def zadd(database: Database, arguments: Arguments) -> bytes:
    """Without options."""
    if len(arguments) % 2:
        raise CommandError(_SYNTAX)
    scores = [_float(text) for text in arguments[2::2]]
    members = arguments[3::2]
    value = database.made(SortedSet, arguments[1], members)
    added = 0
    for member, score in zip(members, scores, strict=True):
        if value.put(member, score):
            added += 1
        else:
            database.used -= len(member) + ENTRY
    return integer(added)


@_command(2, 3)
def zpopmin(database: Database, arguments: Arguments) -> bytes:
    count = _integer(arguments[2]) if len(arguments) > 2 else 1
    if count < 0:
        raise CommandError("ERR value is out of range, must be positive")
    value = database.collection(SortedSet, arguments[1])
    popped: list[tuple[bytes, float]] = []
    while value is not None and len(popped) < count and (lowest := value.lowest()) is not None:
        value.discard(lowest[0])
        popped.append(lowest)
    if popped:
        database.removed(arguments[1], [member for member, _ in popped])
    return strings(text for member, score in popped for text in (member, _shown(score)))


@_command(3)
def zscore(database: Database, arguments: Arguments) -> bytes:
    value = database.collection(SortedSet, arguments[1])
    score = None if value is None else value.scores.get(arguments[2])
    return NIL if score is None else bulk(_shown(score))


@_command(2)
def zcard(database: Database, arguments: Arguments) -> bytes:
    return integer(len(database.collection(SortedSet, arguments[1]) or ()))


def _shown(score: float) -> bytes:
    """A score as Redis writes it."""
    return b"%d" % score if score.is_integer() and abs(score) < 1e17 else repr(score).encode()
