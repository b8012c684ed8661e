"""What a node, and a publisher, may say: the bounds of every field of facts and hellos.

A node is not believed further than its own branch of subjects. What it says ends in the record, and a record that
refuses a commit ends a leader, and the next one by the same words. So each field is looked at before it is used: a
fact beyond its bounds is kept aside and confirmed, a hello beyond them is refused with the sentence that stands here.
Nodes keep well inside (`sync.facts.storable`); only a broken or hostile one ever meets these.
"""

import base64
import binascii
import json
import re
from collections.abc import Sized
from datetime import UTC

from skrei_domain import bloom
from skrei_domain.lifecycle import ExecutionState
from skrei_domain.messages import (
    CachedInputs,
    DataRead,
    ExecutionObserved,
    Hello,
    PortObserved,
    PublishedAt,
    PublisherCommand,
    PublisherFact,
    ResultHeld,
    ResultRef,
    StagedResult,
    Step,
)
from skrei_domain.node import NodeInfo

HIGHEST = 2**53
"""The highest revision, sequence, incarnation or epoch: what every reader of JSON can hold, and a column with room."""

LARGEST = 2**63 - 1
"""What a column of the record holds."""

ID_CHARACTERS = 128
"""Of an id: ours have 38."""

MOST_STEPS = 1_000
"""Of one execution in a fact: a node tells a hundred."""

MOST_TEXT = 16_384
"""Characters of a problem's message, or of an output's head: four times what a node sends."""

MOST_CODE = 200
"""Characters of a problem's code."""

MOST_IMAGE = 1_024
"""Characters of what ran: twice what a node sends."""

MOST_NOTE = 512
"""Characters of how far a preparation is: twice what a node sends."""

MOST_PORTS = 64
"""Ports of one execution: twice what a task may have."""

MOST_HOST = 253
"""Characters of where a port is reached: an address, or a name of the longest kind."""

LOWEST_PORT = 1_024
"""The lowest port that jobs get: those below are the system's."""

HIGHEST_PORT = 65_535
"""The highest port of TCP."""

INLINE_BYTES = 64 * 1024
"""An inline result: larger ones are uploaded."""

MOST_PAGES = 1_000
"""Pages of a hello: a node that lists more than a million executions is not believed."""

MOST_WRITERS = 4_096
"""Processes that wrote what is unconfirmed of one log."""

TIMELINES_AHEAD = 1_000
"""How far ahead of ours a node's timeline may be: as many restored backups since ours was made."""

MOST_NAMES = 256
"""Labels of a node, and engines, storages, publishers, devices: each is a column of the scheduler's matrix."""

MOST_SERVERS = 16
"""Servers that a node says it is near to: as many as a node tells."""

NAME_CHARACTERS = 256
"""Of a name of a node, a label, a plugin or a device: they stand in tables that people read."""

INFO_BYTES = 64 * 1024
"""What a node says of itself, as JSON: it comes with each page of a hello, and is written with each of its facts."""

MOST_AMOUNT = 2**60
"""Bytes, or thousandths of a core, of one node: the sum over a cluster still fits a column."""

MOST_RESULTS = 1_024
"""Results that one message between leader and publisher names: neither sends more than 500."""

MOST_ADDED = 128
"""Inputs that came into a node's cache in one heartbeat: twice what a node tells."""

MOST_PLACE = 4_096
"""Characters of a publisher's own word for where a result is staged."""

MOST_PUBLISHED = 8_192
"""Characters of where a result lies once it is final: the longest path of a node, and what lies there, are more than
MOST_PLACE, and what is not taken here the record would never know."""

MOST_DESTINATION = 256
"""Characters of what a destination is called: a row has it, and people read it."""

MOST_REASON = 1_024
"""Characters of why a result waits: it stands beside its execution until the next reason."""

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{ID_CHARACTERS - 1}}}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INLINE_CHARACTERS = 4 * -(-INLINE_BYTES // 3)


def is_id(text: str) -> bool:
    """Whether `text` can be the id of an execution or a process."""
    return _ID.fullmatch(text) is not None


def wrong_with_fact(fact: ExecutionObserved) -> str:
    """Return which field of a fact is out of bounds, and how; nothing when all are fine."""
    if not is_id(fact.execution_id):
        return "its execution id is none"
    if not _counts(fact.revision, fact.starts):
        return f"its revision or starts are out of bounds: {fact.revision}, {fact.starts}"
    if fact.exit_code is not None and abs(fact.exit_code) > LARGEST:
        return f"its exit code is out of bounds: {fact.exit_code}"
    if len(fact.steps) > MOST_STEPS:
        return f"it has {len(fact.steps)} steps, of {MOST_STEPS} at most"
    texts = []
    if fact.problem is not None:
        if len(fact.problem.code) > MOST_CODE:
            return f"its problem's code has {len(fact.problem.code)} characters, of {MOST_CODE} at most"
        texts.append(fact.problem.message)
    if fact.output is not None:
        texts += [fact.output.stdout, fact.output.stderr]
    if fact.image_digest is not None and len(fact.image_digest) > MOST_IMAGE:
        return f"its image digest has {len(fact.image_digest)} characters, of {MOST_IMAGE} at most"
    if fact.note is not None and len(fact.note) > MOST_NOTE:
        return f"its note has {len(fact.note)} characters, of {MOST_NOTE} at most"
    if any(len(text) > MOST_TEXT for text in texts):
        return f"a text of it has more than {MOST_TEXT} characters"
    if wrong := _wrong_with_ports(fact.ports or ()) or _wrong_with_data(fact.data or DataRead()):
        return wrong
    return next((wrong for wrong in map(_wrong_with_step, fact.steps) if wrong), "") or (
        "" if fact.result is None else _wrong_with_result(fact.result)
    )


def _wrong_with_ports(ports: tuple[PortObserved, ...]) -> str:
    if len(ports) > MOST_PORTS:
        return f"it has {len(ports)} ports, of {MOST_PORTS} at most"
    for port in ports:
        if not 0 < len(port.name) <= NAME_CHARACTERS or not 0 < len(port.host) <= MOST_HOST:
            return "a name or host of its ports is out of bounds"
        if "\0" in port.name + port.host or not (port.name + port.host).isprintable():
            return "a name or host of its ports is no printable text"
        if not (0 < port.port <= HIGHEST_PORT and 0 < port.target <= HIGHEST_PORT):
            return f"its ports are out of bounds: {port.port}, {port.target}"
    return ""


def _wrong_with_data(data: DataRead) -> str:
    numbers = (data.local, data.moved, data.cached, data.hits)
    if not all(0 <= number <= LARGEST for number in numbers):
        return f"the bytes that it read are out of bounds: {numbers}"
    return ""


def _wrong_with_step(step: Step) -> str:
    if not _counts(step.start):
        return f"a step's start is out of bounds: {step.start}"
    try:
        step.at.astimezone(UTC)
    except (OverflowError, ValueError):
        return "a step's time is none"
    return ""


def _wrong_with_result(result: ResultRef) -> str:
    if _DIGEST.fullmatch(result.digest) is None:
        return "its result's digest is not sha256 and 64 hexadecimal digits"
    if not 0 <= result.size <= LARGEST:
        return f"its result's size is out of bounds: {result.size}"
    if (
        not (0 <= result.left_bytes <= LARGEST and 0 <= result.left_size <= LARGEST)
        or (result.left_digest and _DIGEST.fullmatch(result.left_digest) is None)
        or len(result.left_at or "") > MOST_PLACE
        or "\0" in (result.left_at or "")
    ):
        return "where its result was left is out of bounds"
    if result.inline is None:
        return ""
    if len(result.inline) > _INLINE_CHARACTERS:
        return f"its inline result is larger than {INLINE_BYTES} bytes"
    try:
        base64.b64decode(result.inline, validate=True)
    except (binascii.Error, ValueError):
        return "its inline result is not base64"
    return ""


def sound_fact(fact: PublisherFact) -> PublisherFact:
    """Return a fact of the publisher without what cannot be; raises ValueError where it names too much.

    What is left out is nobody's loss: the leader asks again for all that it has not heard of.
    """
    _count(fact.stored, fact.dropped, fact.finalised, fact.refused)
    _count(fact.published)
    _count(fact.waits)
    return fact.model_copy(
        update={
            "stored": tuple(pair for pair in fact.stored if _names_result(*pair)),
            "dropped": tuple(each for each in fact.dropped if is_id(each)),
            "finalised": tuple(pair for pair in fact.finalised if _names_result(*pair)),
            "refused": tuple(
                each
                for each in fact.refused
                if _names_result(each.execution_id, each.digest)
                and len(each.problem.code) <= MOST_CODE
                and len(each.problem.message) <= MOST_TEXT
            ),
            "published": tuple(filter(_is_published, fact.published)),
            "waits": tuple(
                each
                for each in fact.waits
                if _names_result(each.execution_id, each.digest) and len(each.reason) <= MOST_REASON
            ),
        }
    )


def sound_command(command: PublisherCommand) -> PublisherCommand:
    """Return a command to the publisher without what cannot be; raises ValueError where it names too much."""
    _count(command.take, command.drop, command.finalise, command.keep, command.drop_logs)
    return command.model_copy(
        update={
            "take": tuple(filter(_is_held, command.take)),
            "drop": tuple(filter(is_id, command.drop)),
            "drop_logs": tuple(filter(is_id, command.drop_logs)),
            "finalise": tuple(filter(_is_staged, command.finalise)),
            "keep": tuple(filter(_is_staged, command.keep)),
        }
    )


def _count(*named: Sized) -> None:
    if (count := sum(map(len, named))) > MOST_RESULTS:
        raise ValueError(f"a message about {count} results, of {MOST_RESULTS} at most")


def _names_result(execution_id: str, digest: str) -> bool:
    return is_id(execution_id) and _DIGEST.fullmatch(digest) is not None


def _is_published(at: PublishedAt) -> bool:
    fits = is_id(at.execution_id) and is_name(at.type)
    return fits and len(json.dumps(dict(at.params), ensure_ascii=False, default=str)) <= MOST_PUBLISHED


def _is_held(held: ResultHeld) -> bool:
    return _names_result(held.execution_id, held.digest) and 0 <= held.size <= LARGEST


def _is_staged(staged: StagedResult) -> bool:
    fits = is_name(staged.publisher) and len(staged.place) <= MOST_PLACE and "\0" not in staged.place
    fits = fits and len(staged.destination) <= MOST_DESTINATION
    return fits and _names_result(staged.execution_id, staged.digest) and 0 <= staged.size <= LARGEST


def wrong_with_hello(hello: Hello, timeline: int) -> str:
    """Return which field of a hello is out of bounds, and how; nothing when all are fine. `timeline` is ours."""
    if not is_name(hello.node_id) or hello.info.node_id != hello.node_id:
        return "its node id is none, or another one in what it says of itself"
    if not is_id(hello.boot_id) or (hello.challenge and not is_id(hello.challenge)):
        return "its boot id or challenge is none"
    numbers = (hello.protocol, hello.timeline, hello.epoch, hello.incarnation, hello.sequence, hello.confirmed)
    if not _counts(*numbers) or hello.timeline > timeline + TIMELINES_AHEAD:
        return f"one of its numbers is out of bounds: {numbers}"
    if not (1 <= hello.pages <= MOST_PAGES and 0 <= hello.page < hello.pages):
        return f"it is page {hello.page} of {hello.pages}, of {MOST_PAGES} at most"
    if len(hello.writers) > MOST_WRITERS:
        return f"it names {len(hello.writers)} writers, of {MOST_WRITERS} at most"
    if not all(_counts(start) and (not writer or is_id(writer)) for start, writer in hello.writers):
        return "a writer of its log is none"
    for item in hello.executions:
        if not is_id(item.execution_id) or not _counts(item.revision, item.starts):
            return f"an execution that it lists is none: {item.execution_id[:ID_CHARACTERS]!r}, {item.revision}"
        if item.state is ExecutionState.UNKNOWN:
            return f"it does not know how execution {item.execution_id} stands, and nobody else can"
    return wrong_with_info(hello.info)


def wrong_with_info(info: NodeInfo) -> str:
    """Return what is out of bounds in what a node says that it can do; nothing when all is fine."""
    kinds = (info.labels, info.engines, info.storages, info.publishers, info.gpus)
    if any(len(each) > MOST_NAMES for each in (*kinds, info.data, info.services, info.local_sizes)):
        return f"it has more than {MOST_NAMES} labels, plugins, devices, data sets, paths or services"
    if len(info.near) > MOST_SERVERS:
        return f"it is near to {len(info.near)} servers, of {MOST_SERVERS} at most"
    plugins = (*info.engines, *info.storages, *info.publishers)
    sets = (*(each.name for each in info.data), *(each.name for each in info.services))
    named = (*(each.name for each in plugins), *sets)
    if not all(is_name(name) for name in (info.node_id, *info.labels, *named)):
        return "its node id, a label or the name of a plugin, data set or service is none"
    texts = [info.name, info.version, info.os, info.arch, *info.labels.values(), *(each.version for each in plugins)]
    texts += [each.kind for each in info.services]
    texts += [text for each in info.near for text in (each.url, each.region)]
    texts += [text for gpu in info.gpus for text in (gpu.name, gpu.vendor, gpu.pci_address)]
    if not all(_fits(text) for text in texts):
        return f"a text of it has more than {NAME_CHARACTERS} characters, or some that cannot be stored"
    numbers = [*info.capacity.vector(), *(number for gpu in info.gpus for number in (gpu.index, gpu.memory_bytes))]
    numbers += [each.size_bytes or 0 for each in info.data] + [each.size_bytes for each in info.local_sizes]
    numbers += [each.latency_micros for each in info.near] + [info.upload_bytes_per_second]
    numbers += info.cache.model_dump().values() if info.cache is not None else ()
    if not all(0 <= number <= MOST_AMOUNT for number in numbers):
        return f"an amount of it is negative or beyond {MOST_AMOUNT}"
    if len(info.__pydantic_serializer__.to_json(info)) > INFO_BYTES:
        return f"what it says of itself has more than {INFO_BYTES} bytes"
    return ""


def wrong_with_cached(cached: CachedInputs) -> str:
    """Return what is out of bounds in what a node says of its cache; nothing when all is fine."""
    if len(cached.added) > MOST_ADDED:
        return f"it tells of {len(cached.added)} inputs at once, of {MOST_ADDED} at most"
    if not all(bloom.is_key(key) and 0 <= size <= MOST_AMOUNT for key, size in cached.added):
        return "a key of its inputs is none, or a size of them is out of bounds"
    if cached.filter is None:
        return ""
    if len(cached.filter) > 4 * -(-bloom.MOST_BYTES // 3):
        return f"its filter has more than {bloom.MOST_BYTES} bytes"
    try:
        size = len(base64.b64decode(cached.filter, validate=True))
    except (binascii.Error, ValueError):
        return "its filter is not base64"
    return "" if bloom.is_size(size) else f"no filter has {size} bytes"


def is_name(text: str) -> bool:
    """Whether `text` can name a node, a label or a plugin."""
    return bool(text) and _fits(text) and text.isprintable()


def _fits(text: str) -> bool:
    return len(text) <= NAME_CHARACTERS and "\0" not in text and (text.isascii() or _encodable(text))


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _counts(*numbers: int) -> bool:
    return all(0 <= number <= HIGHEST for number in numbers)
