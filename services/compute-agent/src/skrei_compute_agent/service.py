"""One compute node, put together: what is made in which order, what runs, and how it ends."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from importlib.metadata import version
from typing import NamedTuple, Protocol

from skrei_compute_agent.agent import Agent
from skrei_compute_agent.asking import AskInside
from skrei_compute_agent.checks import Checks
from skrei_compute_agent.events import Begun, Checked, Fingerprinted, TidyDue
from skrei_compute_agent.figures import node_figures
from skrei_compute_agent.folders import Folders
from skrei_compute_agent.held import Phase
from skrei_compute_agent.held_inputs import HeldInputs
from skrei_compute_agent.journal import Journal
from skrei_compute_agent.link import Link
from skrei_compute_agent.logs import LogServer
from skrei_compute_agent.machine import AgentMachine
from skrei_compute_agent.networks import NetworkPolicy
from skrei_compute_agent.pace import Pace
from skrei_compute_agent.renewal import Renewer
from skrei_compute_agent.runner import Runner, Together, Work
from skrei_compute_agent.settings import Settings
from skrei_compute_agent.shipper import LOOK_SECONDS, Shipper, Shipping
from skrei_compute_agent.standing import Standing
from skrei_domain.clock import Clock, SystemClock
from skrei_domain.ids import new_node_id
from skrei_domain.listing import InputListed, InputWanted
from skrei_domain.messages import HelloReply, LeftShow, LeftShown, LeftWanted
from skrei_domain.node import NodeInfo
from skrei_domain.node_changes import changes
from skrei_domain.sync import NodeSide
from skrei_kit.bus import BusUnavailable
from skrei_kit.health import Health
from skrei_kit.health_door import listening
from skrei_kit.metrics import process_figures
from skrei_kit.observability import get_logger
from skrei_kit.supervisor import every, run_until_stopped

log = get_logger()

DECLARED_EVERY = timedelta(seconds=1)
"""How often it is looked whether the owner has named data or services: whoever did waits for it. Two calls."""
TIDY_EVERY = timedelta(minutes=1)
"""How often what is due is forgotten: at 1,000 executions a second their cap is passed within two minutes."""
SWEEP_EVERY = timedelta(minutes=1)
"""How often what nobody owns is looked for at the engines: it is removed at once unless something went wrong."""


ENDED = "not ready: its program has ended"
"""Why an execution is not ready whose end is not told yet."""


NOT_GREETED = "no leader has greeted this node yet; what it runs goes on"
"""Why a node is not ready that was not told a reason."""


class Tools(Protocol):
    """What a node works with: made from settings by `toolbox.make_tools`, or by a test."""

    @property
    def work(self) -> Work:
        """What is done for executions."""

    @property
    def adopting(self) -> frozenset[str]:
        """The engines whose programs outlive the agent."""

    @property
    def inside(self) -> AskInside:
        """What asks by commands whether programs are ready."""

    def list_input(self, wanted: InputWanted, say: Callable[[InputListed], None]) -> None:
        """List an input that the leader asks about, and `say` how far that is and what it came to. Never waits."""

    async def fingerprint(self, node_id: str) -> NodeInfo:
        """Return what this node can do now."""

    def hear(self, gone: Callable[[str, int], None]) -> None:
        """Call `gone` with an execution and start whose program has ended, before it is known what that comes to."""

    @property
    def pace(self) -> Pace:
        """How fast this node sends."""

    @property
    def held(self) -> HeldInputs:
        """Which inputs this node has in its cache."""

    @property
    def api_url(self) -> str:
        """Where the API is: as the settings say, else as it was told last; empty: nobody has said."""

    def told(self, reply: HelloReply) -> None:
        """Hear where the control plane says that its doors are."""

    async def sweep(self, owned: Callable[[str], bool]) -> None:
        """Remove what engines kept of executions that nobody owns."""

    def send_left(self, wanted: LeftWanted) -> None:
        """Send what stays on this node to who fetches it, where that may be. Never waits."""

    async def show_left(self, wanted: LeftShow) -> LeftShown:
        """Show what stays on this node, since it has won. Never raises."""

    async def settle(self) -> None:
        """Look after results that stay on this node, as long as it lives."""

    async def close(self) -> None:
        """Give back what the tools hold."""


MakeTools = Callable[[Settings, Folders], Tools]


async def serve(settings: Settings, stop: asyncio.Event, make_tools: MakeTools, *, clock: Clock | None = None) -> None:
    """Run a node until `stop` is set, or raise what ended it."""
    health = Health()
    health.figures.read(process_figures("compute-agent", version("skrei-compute-agent")))
    health.check("leader", lambda: "the node starts")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(listening(settings.health_listen, health))
        journal = Journal(settings.data_dir / "journal")
        memory = journal.load(settings.node_id, new_node_id)
        stack.callback(journal.close)
        node_id = memory.meta.node_id
        folders = Folders(settings.data_dir / "executions")
        folders.open(memory.known.listed)
        stack.callback(folders.close)
        tools = make_tools(settings.model_copy(update={"node_id": node_id}), folders)
        stack.push_async_callback(tools.close)
        info = await tools.fingerprint(node_id)
        machine = AgentMachine(NodeSide(memory, uuid.uuid4().hex), info, adopting=tools.adopting)
        agent = Agent(machine, journal)
        journal.start(agent.fail)
        shipper = Shipper(folders, bytes_per_second=settings.log_ship_bytes_per_second, pace=tools.pace)
        shipper.door(settings.publisher_url)
        stack.push_async_callback(shipper.close)
        policy = NetworkPolicy(address=settings.port_address, host=settings.port_host)
        checks = Checks(agent.post, inside=tools.inside, near=policy.near)
        stack.push_async_callback(checks.close)
        tools.hear(lambda execution_id, start: agent.post(Checked(execution_id, start, ready=False, why=ENDED)))
        runner = Runner(tools.work, agent.post, agent.fail, Together(Shipping(shipper), checks))
        stack.push_async_callback(runner.close)
        stack.callback(agent.close)
        standing = Standing(settings.data_dir)

        def told(reply: HelloReply) -> None:
            tools.told(reply)
            shipper.door(settings.publisher_url or reply.publisher_url)

        link = Link(node_id, agent, standing, told, tools.list_input, held=tools.held, domain=settings.nats_domain)
        agent.connect(runner, link)
        health.figures.read(lambda: node_figures(machine, lambda: link.greeted, settings.data_dir))
        health.check("leader", lambda: "" if link.greeted else standing.reason or NOT_GREETED)
        log.info("node_started", node_id=node_id, unfinished=len(machine.node.unfinished()), **_offered(machine.info))
        agent.post(Begun())  # before the link is there: a cut-off node goes on from its journal
        work = _Work(link, folders, tools, standing, shipper)
        await _run(settings, stop, agent, work, clock or SystemClock())
        standing.forget()
        log.info("node_stopped", node_id=node_id)


async def _run(
    settings: Settings,
    stop: asyncio.Event,
    agent: Agent,
    work: "_Work",
    clock: Clock,
) -> None:
    link, folders, tools, standing, shipper = work
    node_id = agent.machine.node.memory.meta.node_id
    logs = LogServer(
        node_id,
        folders,
        live=lambda key: _live(agent, key),
        known=lambda key: _known(agent, key),
        left=tools.send_left,
        show=tools.show_left,
    )

    async def look_again() -> None:
        before, now = agent.machine.info, await tools.fingerprint(node_id)
        for change in changes(before, now):
            log.info("node_changed", node_id=node_id, change=change)
        agent.post(Fingerprinted(now))

    seen = _stamps(settings)

    async def look_at_declared() -> None:
        nonlocal seen
        if (now := _stamps(settings)) != seen:
            await look_again()
            seen = now

    async def tidy() -> None:
        agent.post(TidyDue())

    async def sweep() -> None:
        await tools.sweep(lambda execution_id: agent.machine.held(execution_id) is not None)

    renewing: set[asyncio.Task[None]] = set()

    def renewed() -> None:
        for line in (link, logs):
            task = asyncio.get_running_loop().create_task(line.renew())
            renewing.add(task)
            task.add_done_callback(renewing.discard)

    renewer = Renewer(settings.nats_creds, api=lambda: tools.api_url, renewed=renewed, trouble=standing.waiting)

    async def serve_logs() -> None:
        while True:
            await _persist(
                lambda: logs.connect(settings.nats_url, settings.nats_creds, ca=settings.nats_ca), clock, standing
            )
            await logs.ended()

    async def talk() -> None:
        while True:
            await _persist(
                lambda: link.connect(
                    settings.nats_url, settings.nats_creds, ca=settings.nats_ca, refused=renewer.refused
                ),
                clock,
                standing,
            )
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(link.send(), name="sender")
                    group.create_task(link.beat(), name="heartbeat")
                    group.create_task(link.take_commands(), name="commands")
                    group.create_task(serve_logs(), name="logs")
                    group.create_task(_ended(link), name="link")
            except* _LinkEnded:
                log.warning(
                    "link_ended", hint="the transport lets this node in no more: it renews its key, and comes back"
                )

    try:
        await run_until_stopped(
            stop,
            link=talk(),
            fingerprint=every(timedelta(seconds=settings.probe_seconds), look_again, name="fingerprint", clock=clock),
            declared=every(DECLARED_EVERY, look_at_declared, name="declared", clock=clock),
            shipping=every(timedelta(seconds=LOOK_SECONDS), shipper.run_once, name="shipping", clock=clock),
            tidy=every(TIDY_EVERY, tidy, name="tidy", clock=clock),
            sweep=every(SWEEP_EVERY, sweep, name="sweep", clock=clock),
            renewal=renewer.run(),
            settling=tools.settle(),
            failure=_raise(agent.failed),
        )
    finally:
        await logs.close()
        await link.leave()


def _stamps(settings: Settings) -> tuple[int, ...]:
    """Return what changes when the owner declares something by name; 0 for a file that is not there."""
    stamps = []
    for file in (settings.data_file, settings.services_file):
        try:
            stamps.append(file.stat().st_mtime_ns)
        except OSError:
            stamps.append(0)
    return tuple(stamps)


def _offered(info: NodeInfo) -> dict[str, object]:
    """What the node can do, for one line: engines with their versions, what is away and why, and the GPUs."""
    return {
        "engines": [f"{plugin.name} {plugin.version}".strip() for plugin in info.engines],
        "absent": [f"{each.kind} {each.name}: {each.reason}" for each in info.absent],
        "gpus": [gpu.name for gpu in info.gpus],
    }


class _Work(NamedTuple):
    """Who works for a node."""

    link: Link
    folders: Folders
    tools: Tools
    standing: Standing
    shipper: Shipper


class _LinkEnded(Exception):
    """Ends what talks over a connection that is over for good."""


async def _ended(link: Link) -> None:
    await link.ended()
    raise _LinkEnded


async def _persist(connect: Callable[[], Awaitable[None]], clock: Clock, standing: Standing) -> None:
    """Connect, however long it takes: a node that cannot reach anybody keeps working from its journal."""
    while True:
        try:
            await connect()
        except BusUnavailable as error:
            log.warning("link_away", problem=error.message, hint=error.hint)
            standing.waiting(error.message, error.hint)
            await clock.sleep(timedelta(seconds=1))
        else:
            return


async def _raise(failed: "asyncio.Future[BaseException]") -> None:
    raise await asyncio.shield(failed)


def _live(agent: Agent, execution_id: str) -> bool:
    held = agent.machine.held(execution_id)
    return held is not None and held.phase is not Phase.ENDED


def _known(agent: Agent, execution_id: str) -> bool:
    known = agent.machine.node.known(execution_id)
    return known is not None and not known.forgotten
