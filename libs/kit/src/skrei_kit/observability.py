"""Logs: events with fields, pretty on a terminal and one JSON object a line elsewhere, on stderr."""

import logging
import os
import sys
from typing import Any, cast

from skrei_kit.imports import without

with without("rich", "better_exceptions"):
    import structlog


def configure_logs(level: str = "info", *, service: str = "", pretty: bool | None = None) -> None:
    """Set logging up for this process; `pretty` None looks whether stderr is a terminal."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"{level!r} is not a log level: use debug, info, warning or error")
    on_terminal = sys.stderr.isatty() if pretty is None else pretty
    # The renderer's own tracebacks show every local variable: tokens and specs among them.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = console if on_terminal else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if service:
        shared.append(_identity(service))
    if not on_terminal:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What libraries say goes the same way, from warnings on.
    formatter = structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


def _identity(service: str) -> Any:
    """Name the process in every line, also those of other threads."""
    pid = os.getpid()

    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, "pid": pid, **event}

    return add


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose methods take an event name and fields."""
    return cast("structlog.typing.FilteringBoundLogger", structlog.get_logger())
