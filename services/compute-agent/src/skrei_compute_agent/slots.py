"""Which data folder an agent works in where several share one disk: the first of some numbered ones that nobody has.

Replicas of one container share a volume. Each takes a folder of it, and with it the node that lived there before: what
a replica of yesterday knew is gone on with today, whatever the container is called now.
"""

import fcntl
import os
from pathlib import Path

from skrei_domain.errors import Conflict, Invalid

LOCK = "in-use"


class NoSlot(Conflict):
    """Every folder is in use."""

    code = "no-data-slot"


def take(folder: Path, slots: int) -> Path:
    """Return the first folder of `1` to `slots` that no other process has; it is ours until this process ends.

    Raises NoSlot where all of them are in use, and Invalid where the disk cannot be locked.
    """
    for number in range(1, slots + 1):
        ours = folder / str(number)
        ours.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(ours / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        except OSError as error:
            os.close(descriptor)
            raise Invalid(
                f"{ours} cannot be locked: {error.strerror}", hint="keep it on a disk of this machine"
            ) from error
        return ours  # the descriptor stays open: the lock goes with the process, however it ends
    raise NoSlot(
        f"all {slots} data folders below {folder} are in use by other agents",
        hint="run fewer of them, or set SKREI_DATA_SLOTS higher",
    )
