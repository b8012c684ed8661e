"""What the faults share with the integration tests: a nats-server, and a leader that follows a script."""

from tests.integration.conftest import leader, nats

__all__ = ["leader", "nats"]
