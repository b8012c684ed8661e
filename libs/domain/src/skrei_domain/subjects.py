"""Every NATS subject and stream by name; nothing else in Skrei spells one.

A name inside a subject is encoded to `[A-Za-z0-9_-]`, so that no node id can reach into another's branch.
"""

import re

ROOT = "skrei.v1"

HINT_EVALUATION = f"{ROOT}.hint.evaluation"
PUBLISHER_COMMAND = f"{ROOT}.publisher.command"
PUBLISHER_FACT = f"{ROOT}.publisher.fact"

ALL_HELLOS = f"{ROOT}.up.*.hello"
ALL_HEARTBEATS = f"{ROOT}.up.*.heartbeat"
ALL_FACTS = f"{ROOT}.up.*.fact"
ALL_LISTED = f"{ROOT}.up.*.listed"
ALL_COMMANDS = f"{ROOT}.down.*.command"
ALL_FEED = f"{ROOT}.feed.>"

STREAM_COMMANDS = "COMMANDS"
STREAM_FACTS = "FACTS"
STREAM_RESULTS = "RESULTS"
STREAM_FEED = "FEED"

_UNSAFE = re.compile(r"[^A-Za-z0-9-]")


def token(name: str) -> str:
    """Return `name` as one subject token: other characters become `_<hex>_`, reversibly distinct."""
    return _UNSAFE.sub(lambda match: f"_{ord(match.group()):x}_", name)


def feed(namespace: str, kind: str) -> str:
    """Leader and API to anyone: which jobs of a namespace have new history, of a kind; kept by FEED."""
    return f"{ROOT}.feed.{token(namespace)}.{kind}"


def node_of(subject: str) -> str:
    """Return the node token of an `up` or `down` subject."""
    return subject.split(".", 4)[3]


def command(node: str) -> str:
    """Leader to agent: wanted states, batched; kept by COMMANDS."""
    return f"{ROOT}.down.{token(node)}.command"


def confirm(node: str) -> str:
    """Leader to agent: how far its facts are committed, or that it must say hello."""
    return f"{ROOT}.down.{token(node)}.confirm"


def rpc(node: str) -> str:
    """API to agent: a question answered on `answer`."""
    return f"{ROOT}.down.{token(node)}.rpc"


def inputs(node: str) -> str:
    """Leader to agent: an input that is to be listed, answered on `listed`."""
    return f"{ROOT}.down.{token(node)}.inputs"


def listed(node: str) -> str:
    """Agent to leader: how far a listing is, and what it came to."""
    return f"{ROOT}.up.{token(node)}.listed"


def down(node: str) -> str:
    """All that a node may hear."""
    return f"{ROOT}.down.{token(node)}.>"


def up(node: str) -> str:
    """All that a node may say."""
    return f"{ROOT}.up.{token(node)}.>"


def fact(node: str) -> str:
    """Agent to leader: its ordered log of observations; kept by FACTS."""
    return f"{ROOT}.up.{token(node)}.fact"


def heartbeat(node: str) -> str:
    """Agent to leader: alive, and how far its log goes."""
    return f"{ROOT}.up.{token(node)}.heartbeat"


def hello(node: str) -> str:
    """Agent to leader, request and reply: the procedure that converges."""
    return f"{ROOT}.up.{token(node)}.hello"


def log(node: str, request_id: str) -> str:
    """Agent to API: output of an execution for one reader."""
    return f"{ROOT}.up.{token(node)}.log.{token(request_id)}"


def answer(node: str, request_id: str) -> str:
    """Agent to API: the answer to one rpc (never a reply inbox: a node may not publish there)."""
    return f"{ROOT}.up.{token(node)}.answer.{token(request_id)}"


def inbox(node: str) -> str:
    """The inbox prefix of a node."""
    return inbox_of(token(node))


def inbox_of(node_token: str) -> str:
    """The same, by the node's token."""
    return f"_INBOX_{node_token}"


def consumer(node: str) -> str:
    """The durable consumer of a node on COMMANDS."""
    return token(node)
