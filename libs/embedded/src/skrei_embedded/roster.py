"""Which services a stack is made of."""

from dataclasses import dataclass

from skrei_embedded.whereabouts import StackOptions

AGENT_STOP, SCHEDULER_STOP, PUBLISHER_STOP, API_STOP = 2.0, 2.0, 1.0, 1.5


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its name among its siblings, what it is told as, its package, how long it may take to stop."""

    name: str
    kind: str
    module: str
    stop_seconds: float


def roster(options: StackOptions) -> list[Service]:
    """Return them in the order of their start: the agent, who is told the fewest secrets, is the first."""
    services = []
    if options.compute:
        services.append(Service("agent", "agent", "skrei_compute_agent", AGENT_STOP))
    if options.orchestrator:
        services.append(Service("api", "api", "skrei_orchestrator_api", API_STOP))
        for number in range(1, options.schedulers + 1):
            name = "scheduler" if number == 1 else f"scheduler-{number}"
            services.append(Service(name, "scheduler", "skrei_scheduler", SCHEDULER_STOP))
        services.append(Service("publisher", "publisher", "skrei_publisher", PUBLISHER_STOP))
    return services
