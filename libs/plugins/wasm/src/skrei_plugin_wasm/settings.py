"""The limits of the wasm engine, each with the reason for its number."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WasmSettings:
    """Read from the plugin's options, `wasm_<name>`; seconds and bytes are plain numbers."""

    most_children: int = 512
    """Children at once, each with one run: far above what a node's cores feed, below a user's process limit."""
    warm_children: int = 2
    """Kept while the zygote lives, so that the next job finds one: 3 MB each, beyond what all share."""
    grow_seconds: float = 0.003
    """When no child became free for so long while runs wait, and the cores have nothing to do for those that run, more
    are forked: most small runs end sooner, and nineteen more children take longer than the looks at those there are."""
    overdue_seconds: float = 1.0
    """When a run has waited this long although children become free, there is one more of them, each time; where they
    keep all cores busy and none becomes free, many more."""
    idle_seconds: float = 60.0
    """After this long without work children end, and without any work the zygote too."""
    most_runs: int = 1_000
    """Runs of one child before it is replaced, so that no leak of a library lasts."""
    most_rss_kib: int = 512 * 1024
    """A child whose memory ever reached this is replaced after the run."""
    grace_seconds: float = 1.0
    """How long an interrupted child may take (it sleeps in a host call, where no epoch reaches) before it is killed."""
    cache_bytes: int = 1024**3
    """Compiled code kept on disk, the least recently used removed first: several dozen large modules."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> "WasmSettings":
        """Return the settings that the options name. Raises ValueError for what is no number."""
        return cls(
            **{
                name: type(default)(options[f"wasm_{name}"])
                for name, default in ((field, getattr(cls(), field)) for field in cls.__slots__)
                if f"wasm_{name}" in options
            }
        )
