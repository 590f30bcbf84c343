"""The commands of miniredis on a database, without a connection."""

from __future__ import annotations

import random
import tracemalloc

import pytest

from reserve.examples.miniredis.commands import COMMANDS, execute
from reserve.examples.miniredis.database import ENTRY, Database, SortedSet


class Client:
    """Carries out commands at a time that the test sets."""

    def __init__(self, max_memory: int = 1_000_000) -> None:
        self.database = Database(max_memory, 100)
        self.now = 1000.0

    def __call__(self, line: str) -> str:
        self.database.begin(self.now)
        return execute(self.database, line.encode().split()).decode().replace("\r\n", " ").strip()


@pytest.fixture
def client() -> Client:
    return Client()


SCRIPT = """
PING -> +PONG
PING hi -> $2 hi
echo x -> $1 x
SELECT 0 -> +OK
SELECT 1 -> -ERR DB index is out of range
NOSUCH -> -ERR unknown command 'NOSUCH'
GET -> -ERR wrong number of arguments for 'get' command
SET a 1 -> +OK
GET a -> $1 1
GET none -> $-1
SET a 2 NX -> $-1
SET b 2 XX -> $-1
SET a 3 XX GET -> $1 1
SET a 4 NX XX -> -ERR syntax error
SET a 4 EX -> -ERR value is not an integer or out of range
SET a 4 EX 0 -> -ERR invalid expire time in 'set' command
SET a 4 FOO -> -ERR syntax error
INCR a -> :4
INCRBY a 10 -> :14
DECR a -> :13
DECRBY a 3 -> :10
INCRBY a x -> -ERR value is not an integer or out of range
APPEND a 5 -> :3
STRLEN a -> :3
MSET b 1 c 2 -> +OK
MSET b 1 c -> -ERR wrong number of arguments for 'mset' command
MGET a b none -> *3 $3 105 $1 1 $-1
EXISTS a b a none -> :3
TYPE a -> +string
TYPE none -> +none
DBSIZE -> :3
DEL a none b -> :2
KEYS * -> *1 $1 c
KEYS [ab] -> *0
SCAN 0 -> *2 $1 0 *1 $1 c
SCAN 0 MATCH x* COUNT 5 -> *2 $1 0 *0
SCAN 99 -> -ERR invalid cursor
SCAN 0 MATCH -> -ERR syntax error
FLUSHALL -> +OK
DBSIZE -> :0
SET n 9223372036854775807 -> +OK
INCR n -> -ERR increment or decrement would overflow
SET n 007 -> +OK
INCR n -> -ERR value is not an integer or out of range
LPUSH l a b -> :2
RPUSH l c -> :3
LRANGE l 0 -1 -> *3 $1 b $1 a $1 c
LRANGE l -2 100 -> *2 $1 a $1 c
LRANGE l 2 1 -> *0
LRANGE none 0 1 -> *0
LLEN l -> :3
GET l -> -WRONGTYPE Operation against a key holding the wrong kind of value
SADD l x -> -WRONGTYPE Operation against a key holding the wrong kind of value
MGET l -> *1 $-1
LPOP l -> $1 b
RPOP l 5 -> *2 $1 c $1 a
LPOP l -> $-1
LPOP l 2 -> *-1
LPOP l -1 -> -ERR value is out of range, must be positive
EXISTS l -> :0
HSET h f 1 g 2 -> :2
HSET h f 3 -> :0
HSET h f -> -ERR wrong number of arguments for 'hset' command
HGET h f -> $1 3
HGETALL h -> *4 $1 f $1 3 $1 g $1 2
HDEL h f none -> :1
HLEN h -> :1
HDEL h g -> :1
TYPE h -> +none
SADD s a b a -> :2
SISMEMBER s a -> :1
SCARD s -> :2
SREM s a -> :1
SMEMBERS s -> *1 $1 b
SPOP s -> $1 b
SPOP s -> $-1
ZADD z 2 b 1 a -> :2
ZADD z 3 a -> :0
ZADD z nan a -> -ERR value is not a valid float
ZADD z 1 -> -ERR wrong number of arguments for 'zadd' command
ZSCORE z a -> $1 3
ZCARD z -> :2
ZPOPMIN z -> *2 $1 b $1 2
ZADD z 0.5 c -> :1
ZPOPMIN z 5 -> *4 $1 c $3 0.5 $1 a $1 3
ZPOPMIN z -> *0
HELLO 3 -> -NOPROTO unsupported protocol version
CONFIG GET save -> *2 $4 save $0
CONFIG SET save x -> -ERR only CONFIG GET is there; options of the command line set the limits
COMMAND DOCS -> *0
CLIENT SETNAME x -> +OK
CLIENT KILL -> -ERR unknown subcommand of CLIENT
"""


def test_a_script_of_commands(client: Client) -> None:
    for line in SCRIPT.strip().splitlines():
        command, _, reply = line.partition(" -> ")
        assert (command, client(command)) == (command, reply)
    client("FLUSHALL")
    assert client.database.used == 0


def test_keys_expire(client: Client) -> None:
    client("SET a 1 EX 10")
    client("SET b 1 PX 1500")
    client("SET c 1")
    assert [client(f"TTL {key}") for key in "abcd"] == [":10", ":2", ":-1", ":-2"]
    assert client("PTTL b") == ":1500"
    client.now += 1.5
    assert client("DBSIZE") == ":2"
    assert client("EXPIRE c 5") == ":1"
    assert client("EXPIRE b 5") == ":0"
    assert client("PERSIST a") == ":1"
    assert client("PERSIST a") == ":0"
    client.now += 5
    assert client("KEYS *") == "*1 $1 a"
    client("SET a 2 EX 10")
    client("SET a 3 KEEPTTL")
    assert client("TTL a") == ":10"
    client("INCR a")
    assert client("TTL a") == ":10"
    client("SET a 3")
    assert client("TTL a") == ":-1"
    client("EXPIRE a -1")
    assert client("EXISTS a") == ":0"


def test_a_key_that_was_deleted_does_not_expire_later(client: Client) -> None:
    client("SET a 1 EX 10")
    client("DEL a")
    client("SET a 2")
    client.now += 20
    assert client("GET a") == "$1 2"


def test_memory_is_limited_and_counted() -> None:
    client = Client(max_memory=1000)
    assert client("SET a 1") == "+OK"
    assert client.database.used == 2 + ENTRY
    for number in range(3):
        for line in f"RPUSH l {number}", f"HSET h f{number} x", f"SADD s {number}", f"ZADD z 1 {number}":
            client(line)
    assert client("SET big " + "x" * 500).startswith("-OOM command not allowed: keys and values have ")
    assert client.database.used <= 1000
    assert client("GET a") == "$1 1"
    for key in "alhsz":
        client(f"DEL {key}")
    assert (client.database.used, client("DBSIZE")) == (0, ":0")
    assert client("LPUSH l " + "x" * 1000).startswith("-OOM")
    assert client("EXISTS l") == ":0"


def test_a_string_cannot_be_appended_beyond_its_limit(client: Client) -> None:
    for _ in range(10):
        client("APPEND a " + "x" * 10)
    assert client("APPEND a x") == "-ERR string exceeds maximum allowed size: --max-value is 100"


def test_scan_returns_a_key_once_whatever_happens_to_the_others(client: Client) -> None:
    for number in range(3000):
        client(f"SET k{number} x")
    found, cursor, number = [], "0", 0
    while True:
        database = client.database
        reply = execute(database, [b"SCAN", cursor.encode(), b"MATCH", b"k*"]).decode().split("\r\n")
        cursor = reply[2]
        found += reply[5::2]
        for _ in range(40):  # the second half goes, and others come
            client(f"DEL k{1500 + number}")
            client(f"SET new{number} x")
            number += 1
        if cursor == "0":
            break
    kept = [key for key in found if key and int(key[1:]) < 1500]
    assert sorted(kept) == sorted(f"k{number}" for number in range(1500))


def test_patterns_are_short(client: Client) -> None:
    assert client("KEYS " + "*a" * 600) == "-ERR a pattern has at most 1024 bytes"
    client("SET " + "a" * 1000 + " x")
    assert client("KEYS " + "*" * 1000 + "b") == "*0"


def test_a_sorted_set_always_knows_its_lowest_member() -> None:
    chance = random.Random(7)
    value = SortedSet()
    model: dict[bytes, float] = {}
    for _ in range(5000):
        member = b"%d" % chance.randrange(50)
        if chance.random() < 0.7:
            score = float(chance.randrange(10))
            assert value.put(member, score) == (member not in model)
            model[member] = score
        else:
            assert value.discard(member) == (model.pop(member, None) is not None)
        lowest = min(((score, member) for member, score in model.items()), default=None)
        assert value.lowest() == (None if lowest is None else (lowest[1], lowest[0]))
        assert len(value._heap) <= 2 * 50 + 65


def test_the_list_of_commands_has_all_of_them(client: Client) -> None:
    assert client("COMMAND COUNT") == f":{len(COMMANDS)}"
    assert all(f" {name.decode().lower()} " in client("COMMAND") for name in COMMANDS)
    assert "used_memory:0" in client("INFO")


@pytest.mark.parametrize(
    "lines", [("ZADD {key} {number} {text}",), ("SET {text}{number} 1 EX 9", "DEL {text}{number}")]
)
def test_what_a_client_has_replaced_or_removed_is_not_kept(lines: tuple[str, ...]) -> None:
    """It is not counted any more, so that --max-memory would not stop it."""
    database = Database(10_000_000, 1_000_000)
    text = "x" * 100_000
    tracemalloc.start()
    try:
        for number in range(50):
            for line in lines:
                execute(database, line.format(key="key", number=number, text=text).encode().split())
        assert database.used < 200_000
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
