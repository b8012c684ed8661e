"""The streams and consumers of DESIGN section 4, as data; each number with its reason."""

from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from skrei_domain import subjects

MAX_MESSAGE_BYTES = 512 * 1024  # no message is larger; batches are cut at half of it
TEN_MINUTES = 600.0  # what stayed unread longer is repeated by its owner anyway
MAX_NODES = 20_000  # consumers on COMMANDS; the server's silent default is 1,000
COMMANDS_BYTES = 512 * 1024 * 1024  # ten minutes of commands at 1,000 jobs/s with small specs
FACTS_BYTES = 1024 * 1024 * 1024
RESULTS_BYTES = 31 * 1024 * 1024  # a minute and a half at 1,000 jobs/s; below 32 MiB the server holds 4 MiB, not 8
FEED_BYTES = 1024 * 1024 * 1024  # a week at 50 jobs/s, less of a busier cluster
MOST_BYTES = max(COMMANDS_BYTES, FACTS_BYTES, RESULTS_BYTES, FEED_BYTES)  # no bound besides them
LEAST_BYTES = 4 * 1024 * 1024  # eight of the largest messages: with less a commit is told more than once
A_WEEK = 7 * 24 * 3600.0  # what a consumer of the feed that was away for a holiday finds again


def commands(most_bytes: int = MOST_BYTES) -> StreamConfig:
    """Wanted states, kept for nodes that are away for a moment; the record repeats what nobody saw."""
    return _stream(
        subjects.STREAM_COMMANDS, [subjects.ALL_COMMANDS], COMMANDS_BYTES, most_bytes, max_consumers=MAX_NODES
    )


def facts(most_bytes: int = MOST_BYTES) -> StreamConfig:
    """Observations, kept while a leader takes over; the nodes repeat what nobody confirmed."""
    return _stream(subjects.STREAM_FACTS, [subjects.ALL_FACTS], FACTS_BYTES, most_bytes)


def results(most_bytes: int = MOST_BYTES) -> StreamConfig:
    """What publisher and leader tell each other; both derive it again from what they hold."""
    captured = [subjects.PUBLISHER_COMMAND, subjects.PUBLISHER_FACT]
    return _stream(subjects.STREAM_RESULTS, captured, RESULTS_BYTES, most_bytes)


def feed(most_bytes: int = MOST_BYTES) -> StreamConfig:
    """Which jobs have new history, for users' own consumers; what was dropped is in the record."""
    return _stream(subjects.STREAM_FEED, [subjects.ALL_FEED], FEED_BYTES, most_bytes, max_age=A_WEEK)


def streams(most_bytes: int = MOST_BYTES) -> tuple[StreamConfig, ...]:
    """All of them, each with `most_bytes` at most."""
    return facts(most_bytes), results(most_bytes), feed(most_bytes), commands(most_bytes)


def _stream(
    name: str,
    captured: list[str],
    own_bytes: int,
    most_bytes: int,
    *,
    max_consumers: int | None = None,
    max_age: float = TEN_MINUTES,
) -> StreamConfig:
    """Some minutes of what is captured, on disk, the oldest dropped first: no stream is a promise."""
    return StreamConfig(
        name=name,
        subjects=captured,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        max_age=max_age,
        max_bytes=min(own_bytes, most_bytes),
        max_msg_size=MAX_MESSAGE_BYTES,
        max_consumers=max_consumers,
        num_replicas=1,
    )


def node_consumer(node_id: str) -> ConsumerConfig:
    """A node's durable consumer on COMMANDS: only what is sent from now on, hello covers what was before."""
    return ConsumerConfig(
        durable_name=subjects.consumer(node_id),
        filter_subject=subjects.command(node_id),
        deliver_policy=DeliverPolicy.NEW,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30.0,  # an agent that took a batch and died is given it again after hello anyway
        max_ack_pending=1_000,
        inactive_threshold=7 * 24 * 3600.0,  # a node that stays away longer gets a new one with its hello
        num_replicas=1,
    )
