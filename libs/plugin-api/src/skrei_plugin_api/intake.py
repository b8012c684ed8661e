"""What comes of a part, put where it belongs and into the digest, by threads.

A thread that writes takes from the connection into a slot, writes it, and hands it to one that digests; slots are used
again and again, so memory is bounded whatever comes. Where a link is fast one part is taken whole while the others of
its upload wait in their connections: nothing is read back for the digest.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from skrei_plugin_api.inflow import Tap
from skrei_plugin_api.upload_folder import Upload

SLOT_BYTES = 1024 * 1024
"""Taken at once: with less, threads wait for each other; with more, a processor's cache no longer holds it."""
SLOTS = 16
"""For all uploads together: two for each thread that writes, so that it has one while another is digested."""
HASHERS = 2
"""Threads that only compute: more than cores they would share."""


class Intake:
    """The memory and the digesting threads of one publisher."""

    def __init__(self, name: str) -> None:
        self._hashing = ThreadPoolExecutor(HASHERS, thread_name_prefix=f"{name}-hash")
        self._slots = _Slots()

    def close(self) -> None:
        """End what still computes."""
        self._hashing.shutdown()

    def take(self, upload: Upload, number: int, position: int, early: Sequence[bytes], tap: Tap | None = None) -> int:
        """Take what has come of a part from `position` on: `early`, then what `tap` brings without a pause.

        Returns the position after it. Raises StoreFull, UploadUnknown, UploadIncomplete. Blocks. One of an upload at a
        time.
        """
        first, size = upload.span(number)
        end = first + size
        came = number in upload.came  # what has come, and is hashed, nobody changes any more
        straight = not came and upload.join(number, position, self._hashing.submit)
        with upload.writing() as file:
            if early and not came:
                upload.put(file, position, early)
            for data in early:
                position += len(data)
                if straight:
                    upload.digesting.add(data, _nothing, self._hashing.submit)
            patient = False
            while tap is not None and position < end:
                slot = self._slots.get()
                put_back = partial(self._slots.put, slot)
                try:
                    piece = slot[: tap.read(slot[: end - position], patient=patient)]
                    if piece and not came:
                        upload.put(file, position, [piece])
                except BaseException:
                    put_back()
                    raise
                if straight and piece:
                    upload.digesting.add(piece, put_back, self._hashing.submit)
                else:
                    put_back()
                if not piece:
                    break
                position += len(piece)
                patient = len(piece) == SLOT_BYTES
        return position

    def catch_up(self, upload: Upload) -> "Future[None]":
        """Take into the digest what has come without a gap; return what is done once it is in it."""
        upload.hash_on(self._hashing.submit)
        return upload.digesting.settled(self._hashing.submit)


class _Slots:
    """Memory to take into; what was used last is had first, while it is in a processor's cache."""

    def __init__(self) -> None:
        self._free: list[memoryview] = []
        self._made = 0
        self._some = threading.Condition()

    def get(self) -> memoryview:
        with self._some:
            if not self._free and self._made < SLOTS:
                self._made += 1
                return memoryview(bytearray(SLOT_BYTES))
            while not self._free:
                self._some.wait()
            return self._free.pop()

    def put(self, slot: memoryview) -> None:
        with self._some:
            self._free.append(slot)
            self._some.notify()


def _nothing() -> None:
    """What is free by itself."""
