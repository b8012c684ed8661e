"""Settings of services that tell what they did as spans, and the exporter that follows from them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from skrei_kit.metrics import Figures
from skrei_kit.settings import Settings

if TYPE_CHECKING:
    from skrei_kit.otlp import Exporter

SCHEMES = ("http", "https")


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in SCHEMES or not parts.hostname):
        raise ValueError(f"{text!r} is no address of a collector: use http://host:4318")
    return text


def read_headers(text: str) -> dict[str, str]:
    """Return the headers of `name=value,name=value`. Raises ValueError."""
    found = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not name.replace("-", "").isalnum() or not (value.isascii() and value.isprintable()):
            raise ValueError("not headers: use name=value,name=value")
        found[name] = value
    return found


def _headers(secret: SecretStr) -> SecretStr:
    read_headers(secret.get_secret_value())
    return secret


class TracedSettings(Settings):
    """Of the API and the scheduler: what is told of a job, nodes included, is told by these two."""

    otlp_endpoint: Annotated[str, AfterValidator(_endpoint)] = ""
    """Where an OpenTelemetry collector takes spans over HTTP, `http://collector:4318`; empty: nothing is told."""

    otlp_headers: Annotated[SecretStr, AfterValidator(_headers)] = SecretStr("")
    """Headers for it, `authorization=Bearer x,name=value`: what a hosted one is shown."""

    trace_share: float = Field(default=1.0, ge=0, le=1)
    """Of all jobs this share is traced, unless the caller's own trace says yes or no. A span costs some microseconds:
    at a thousand jobs a second a tenth is plenty."""

    def exporter(self, figures: Figures) -> "Exporter | None":
        """Return what brings spans to the collector; None where none is named: nothing of it is imported then."""
        if not self.otlp_endpoint:
            return None
        from skrei_kit.otlp import Exporter

        return Exporter(self.otlp_endpoint, read_headers(self.otlp_headers.get_secret_value()), figures)


@asynccontextmanager
async def exporting(exporter: "Exporter | None") -> AsyncIterator[None]:
    """Let spans be sent meanwhile, and what is left of them at the end."""
    sending = asyncio.create_task(exporter.run(), name="spans") if exporter is not None else None
    try:
        yield
    finally:
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
