"""What an agent has in its folder of executions."""

from pathlib import Path


def held(root: Path) -> set[str]:
    """The names of what lies there for an execution, whichever; emptied folders stay for the next ones."""
    left = list(root.iterdir())
    assert not [path for path in left if path.name.startswith("~") and list(path.iterdir())]
    return {path.name for path in left if not path.name.startswith("~")}
