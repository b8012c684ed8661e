"""Which services a stack is made of."""

from dataclasses import dataclass

from skrei_embedded.whereabouts import StackOptions

AGENT_STOP, SCHEDULER_STOP, PUBLISHER_STOP, API_STOP = 2.0, 2.0, 1.0, 1.5
API_PLACE, PUBLISHER_PLACE, AGENT_PLACE, SCHEDULER_PLACE = range(4)  # there may be several schedulers


@dataclass(frozen=True, slots=True)
class Service:
    """One service: its name among its siblings, what it is told as, its package, how long it may take to stop."""

    name: str
    kind: str
    module: str
    stop_seconds: float
    place: int = 0
    """Which port of health it gets, counted from the one that was named: the same whatever else the stack runs."""


def health_of(listen: str, place: int) -> str:
    """Return where the service of this place answers, given where the first does; a free port for each of port 0."""
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + place}" if port.isdigit() and int(port) else listen


def roster(options: StackOptions) -> list[Service]:
    """Return them in the order of their start: the agent, who is told the fewest secrets, is the first."""
    services = []
    if options.compute:
        services.append(Service("agent", "agent", "skrei_compute_agent", AGENT_STOP, AGENT_PLACE))
    if options.orchestrator:
        services.append(Service("api", "api", "skrei_orchestrator_api", API_STOP, API_PLACE))
        for number in range(1, options.schedulers + 1):
            name = "scheduler" if number == 1 else f"scheduler-{number}"
            services.append(Service(name, "scheduler", "skrei_scheduler", SCHEDULER_STOP, SCHEDULER_PLACE + number - 1))
        services.append(Service("publisher", "publisher", "skrei_publisher", PUBLISHER_STOP, PUBLISHER_PLACE))
    return services
