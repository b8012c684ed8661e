"""The contract suites: what every engine, storage and publisher must do, as classes for pytest to collect.

A plugin's tests subclass one, give the fixture `engine`, `storage` or `publisher`, and say how to make a program or an
input of it; with pytest-asyncio in auto mode the rest follows. Change the suite, not one plugin's tests. No
pytest here: a plugin's own tests bring it.
"""

from skrei_plugin_api.aside import apart
from skrei_plugin_api.scripted import ScriptedEngine
from skrei_plugin_api.testing.common import eventually, unpacked
from skrei_plugin_api.testing.engines import Ask, Behaviour, EngineContract, Program, Running, contents
from skrei_plugin_api.testing.forwarders import ForwarderContract, archive
from skrei_plugin_api.testing.publishers import PublisherContract, in_pieces, parcel, pieces
from skrei_plugin_api.testing.storages import NoBlobs, StorageContract

__all__ = [
    "Ask",
    "Behaviour",
    "EngineContract",
    "ForwarderContract",
    "NoBlobs",
    "Program",
    "PublisherContract",
    "Running",
    "ScriptedEngine",
    "StorageContract",
    "apart",
    "archive",
    "contents",
    "eventually",
    "in_pieces",
    "parcel",
    "pieces",
    "unpacked",
]
