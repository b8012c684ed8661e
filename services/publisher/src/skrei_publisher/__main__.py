"""The program `skrei-publisher`."""

import asyncio
import sys

from skrei_domain.errors import SkreiError
from skrei_kit.observability import configure_logs, get_logger
from skrei_kit.settings import load
from skrei_kit.supervisor import await_start, die_with_parent, open_as_many_files_as_allowed, stop_on_signals
from skrei_publisher.service import serve
from skrei_publisher.settings import Settings
from skrei_publisher.store_publisher import SWITCH_SECONDS


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit 1 with one line when the start is refused."""
    die_with_parent()
    await_start()
    try:
        settings = load(Settings)
        configure_logs(settings.log_level, service="publisher")
        open_as_many_files_as_allowed()  # a part that is read straight has two, and an upload may send several at once
        sys.setswitchinterval(SWITCH_SECONDS)
        asyncio.run(_run(settings))
    except SkreiError as error:
        get_logger().error("publisher_failed", reason=error.message, hint=error.hint)
        sys.exit(1)
    except OSError as error:
        get_logger().error("publisher_failed", reason=str(error))
        sys.exit(1)


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    await serve(settings, stop)


if __name__ == "__main__":
    main()
