"""A record that says of what executions left whether it counts."""

import asyncio

from skrei_domain.errors import SkreiError


class Record:
    """What the record says of each execution, and who asked."""

    def __init__(self, **says: bool | SkreiError | None) -> None:
        self.says = {name.replace("_", "-"): each for name, each in says.items()}
        self.asked: list[tuple[str, str]] = []
        self.called = asyncio.Event()

    async def standing(self, execution_id: str, token: str) -> bool | None:
        self.asked.append((execution_id, token))
        self.called.set()
        said = self.says[execution_id]
        if isinstance(said, SkreiError):
            raise said
        return said
