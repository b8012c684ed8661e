"""The transport: NATS and JetStream behind the few verbs that Skrei uses."""

from skrei_kit.imports import without

with without("aiohttp"):  # for WebSockets alone: `connection` brings it when an address asks for one
    from skrei_kit.bus.connection import Bus, BusUnavailable, Message, MessageTooLarge, offer
    from skrei_kit.bus.pull import PullReader
    from skrei_kit.bus.stream import Arrival, StreamReader

__all__ = ["Arrival", "Bus", "BusUnavailable", "Message", "MessageTooLarge", "PullReader", "StreamReader", "offer"]
