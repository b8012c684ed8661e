"""Jobs whose inputs a node lists before they are placed: who is asked, how long, and what the answers come to.

An evaluation of such a job is held back here. It stays in the record meanwhile, so that the next leader finds it there,
and asks again; a node that is asked again answers the same. Where a node cannot, or finds nothing for some seconds,
another is asked: it may be the one that reaches the server. What nobody lists in time is placed without; then the node
of its first execution is asked, which lists for that anyway, and what it says pins the rest.
"""

import itertools
import zlib
from collections.abc import Collection, Iterable
from datetime import datetime

from skrei_domain import subjects
from skrei_domain.listing import InputListed
from skrei_domain.messages import MOST_PARTS
from skrei_scheduler.lead import Lead
from skrei_scheduler.listing_state import Asked, Held, Question, is_final, pin_into
from skrei_scheduler.work import Commit, Outgoing, SendListing
from skrei_scheduling import targets, texts
from skrei_scheduling.builder import ChangesBuilder
from skrei_scheduling.changes import Changes, Locked
from skrei_scheduling.locality import reached
from skrei_scheduling.rows import Evaluation, JobRow, TaskInput, TaskPlan

MOST_JOBS = 1_000
"""Held back at once; more are placed without."""
MOST_INPUTS = 64
"""Of one job: more are placed without."""
PATIENCE_SECONDS = 10.0
"""How long a node may say nothing of a listing, or of any file in it; it speaks each second."""
OTHERS_SECONDS = 3.0
"""A node that has found nothing for so long may not reach the server: another is asked beside it."""
MOST_NODES = 3
"""Asked for one input, each a listing: of more regions that do not reach a server, tasks say what they use."""
LONGEST_SECONDS = 900.0
"""Of one job's listings: five million keys take some ten minutes."""
REPEAT_SECONDS = 2.0
"""A question of which nothing is heard for so long is asked again: it was lost, or its node began anew."""
TELL_SECONDS = 2.0
"""Between two words on how far it is in the job's message: each is a commit."""
WHY_CHARACTERS = 1_000
"""Of a node's word for why there is no list: it stands in the job's history."""
JOBS_A_COMMIT = 64
"""Pinned by one commit: some milliseconds."""
NOBODY = "no node that is here could list it"
NOTHING_YET = f"no node has found a file within {PATIENCE_SECONDS:g} s"


class Listings:
    """The jobs that wait for a list of their inputs. Where this is not `on` there are none."""

    def __init__(self, lead: Lead, *, on: bool) -> None:
        self._lead = lead
        self._on = on
        self._held: dict[str, Held] = {}
        self._by_request: dict[str, tuple[str, TaskInput]] = {}
        self._fresh: dict[str, None] = {}  # held jobs that nobody was asked about yet
        self._refused: dict[str, None] = {}  # held jobs of which a node has said that it cannot
        self._over: dict[str, None] = {}  # held jobs of which all is known that will be
        self._free: list[Evaluation] = []
        self._given_up: set[tuple[str, int]] = set()  # (job, version) that are placed without
        self._unpinned: dict[str, Held] = {}  # of them those whose first execution is waited for
        self._due = False
        self._numbers = itertools.count()
        self._types: tuple[int, frozenset[str]] = (-1, frozenset())

    def at_hand(self) -> Iterable[str]:
        """Return the ids of the evaluations that are held back."""
        return (each.id for held in self._held.values() for each in held.evaluations.values() if each.id)

    def hold(self, evaluation: Evaluation) -> bool:
        """Take an evaluation of a job whose inputs are to be listed first; returns whether it was taken."""
        if not self._on:
            return False
        held = self._held.get(evaluation.job_id)
        job = self._lead.view.jobs.get(evaluation.job_id) if evaluation.job is None else evaluation.job
        if job is None or (held is None and not any(task.fetched for task in job.tasks)):
            return held is not None
        job = self._lead.view.latest(job)
        if held is not None and (job.version != held.job.version or job.state.is_terminal):
            self._let_go(job.id)
            held = None
        if held is not None and held.placed:
            return False
        if held is None:
            fixed = targets.first(self._lead.view, job)
            inputs = self._to_list(job.with_targets(dict(fixed)))
            if not inputs:
                return False
            held = self._held[job.id] = Held(job, {}, inputs, fixed)
            self._fresh[job.id] = None
            self._lead.view.upsert_job(job)
        held.job = job.with_targets(dict(held.targets))
        held.evaluations[evaluation.id or evaluation.job_id] = evaluation
        return True

    def freed(self) -> list[Evaluation]:
        """Return, once, the evaluations that are held back no longer."""
        freed, self._free = self._free, []
        return freed

    def tick(self) -> None:
        """Look at who is late, with the next turn."""
        self._due = bool(self._held or self._unpinned)
        if len(self._given_up) > MOST_JOBS:
            jobs = self._lead.view.jobs
            self._given_up = {each for each in self._given_up if each[0] in jobs and not jobs[each[0]].attempts}

    def on_listed(self, node: str, listed: InputListed, now: float) -> None:
        """A node, by its token in subjects, says how far a listing is, or what it came to."""
        job_id, key = self._by_request.get(listed.request_id, ("", ("", 0)))
        held = self._held.get(job_id)
        asked = None if held is None else held.asked.get(key)
        if held is None or asked is None or not asked.open:
            return
        question = next((each for each in asked.waiting if each.request_id == listed.request_id), None)
        if question is None or subjects.token(question.node_id) != node:
            return
        question.heard, question.files = now, listed.files
        if listed.manifest is not None and listed.manifest.parts in (1, held.job.shares(held.inputs[key])):
            asked.ref, asked.node_id = listed.manifest, question.node_id
        elif listed.manifest is not None:
            question.why = f"its list has {listed.manifest.parts} parts"
        elif listed.problem is not None:
            question.why = (listed.problem.message or listed.problem.code or "it does not say why")[:WHY_CHARACTERS]
            if is_final(listed.problem.code, held.inputs[key], key[1]):
                asked.why = question.why
        if question.why and asked.open:
            self._refused[job_id] = None
        self._look(job_id)

    def next(self, now: float, wall: datetime) -> Commit | list[Outgoing] | None:
        """Return the next commit, or messages; None where there is nothing to do."""
        out: list[Outgoing] = []
        for job_id in list(self._fresh):
            out += self._ask_first(self._held[job_id], now)
            self._look(job_id)
        self._fresh.clear()
        for job_id in list(self._refused):
            out += self._ask_others(self._held[job_id], now)
            self._look(job_id)
        self._refused.clear()
        if self._due:
            self._due = False
            for held in list(self._held.values()):
                out += self._late(held, now, wall)
                self._look(held.job.id)
            for job_id in list(self._unpinned):
                out += self._ask_runner(job_id, now)
        if out:
            return out
        if self._over:
            return self._pin()
        return self._tell(now)

    # ------------------------------------------------------------ what is to be listed

    def _to_list(self, job: JobRow) -> dict[TaskInput, TaskPlan]:
        """Return the inputs of a job that a node could list now: of one that is about to begin, and will end.

        Where it runs once a node, or on those that hold its data, they are known.
        """
        if job.kind.endless or job.state.is_terminal or job.attempts or len(self._held) >= MOST_JOBS:
            return {}
        if (job.id, job.version) in self._given_up or (job.by_node and not job.targets):
            return {}
        found = {
            (task.name, number): task
            for task in job.tasks
            if job.shares(task) <= MOST_PARTS
            for number, type_ in task.fetched
            if (task.name, number) not in job.manifests and type_ in self._listed_types()
        }
        if not found or len(found) > MOST_INPUTS or any(row.live for row in self._lead.view.of_job(job.id)):
            return {}
        asked = (self._node_for(job, task, number) for (_, number), task in found.items())
        return found if all(asked) else {}  # with nobody to ask it waits, or fails, as any other

    def _listed_types(self) -> frozenset[str]:
        """Return the types of inputs that some node lists, looked up anew where a node has changed."""
        view = self._lead.view
        if self._types[0] != view.matrix.version:
            names = {each.name for node in view.nodes.values() for each in node.info.storages if each.lists}
            self._types = (view.matrix.version, frozenset(names))
        return self._types[1]

    def _node_for(self, job: JobRow, task: TaskPlan, number: int, but: Collection[str] = ()) -> str:
        """Return a node that could run the task and lists such inputs, another for the next job; empty for none.

        Of a task that uses a service it is one that reaches it: in several regions no other may reach its inputs. One
        that has measured how far the input's server is comes before those that never reached it.
        """
        view, type_ = self._lead.view, dict(task.fetched)[number]
        able = view.feasibility.of(task.requirement).candidates.copy()
        view.matrix.close_unreached(able, task.requirement.uses)
        near = reached(task, number, view.matrix)
        groups = [able] if near is None else [able & near, able & ~near]
        for candidates in (group.nonzero()[0] for group in groups):
            first = zlib.crc32(job.id.encode()) % len(candidates) if len(candidates) else 0
            for row in itertools.chain(candidates[first:], candidates[:first]):
                node = view.nodes.get(view.matrix.ids[row])
                lists = node is not None and any(each.lists and each.name == type_ for each in node.info.storages)
                if node is not None and lists and node.id not in but and view.hears(node.id):
                    return node.id
        return ""

    # ------------------------------------------------------------ asking

    def _ask_first(self, held: Held, now: float) -> list[Outgoing]:
        held.since = held.told_at = now
        return [each for key in held.inputs for each in self._ask(held, key, now)]

    def _ask_runner(self, job_id: str, now: float) -> list[Outgoing]:
        """Ask the node of a first execution what it has listed, for all that are placed later."""
        held, view = self._unpinned[job_id], self._lead.view
        job = view.jobs.get(job_id)
        if job is None or job.state.is_terminal or job.version != held.job.version:
            del self._unpinned[job_id]
            return []
        rows = [row for row in view.of_job(job_id) if row.live and not row.revoked and row.job_version == job.version]
        nodes = {row.task: row.node_id for row in reversed(rows)}
        later = {key: task for key, task in held.inputs.items() if key[0] not in nodes}
        if len(later) == len(held.inputs) or job_id in self._held:
            return []  # with a later look
        del self._unpinned[job_id]
        if later:  # tasks that wait for others have no execution yet, and those have none any more by then
            self._unpinned[job_id] = Held(job, {}, later, placed=True)
        held.job = job
        held.inputs = {key: job.task(key[0]) for key in held.inputs if key not in later}
        held.since = held.told_at = now
        self._held[job_id] = held
        return [each for key in held.inputs for each in self._ask_at(held, key, nodes[key[0]], now)]

    def _ask(self, held: Held, key: TaskInput, now: float) -> list[Outgoing]:
        """Ask a node for an input that nobody was asked for yet, or one more; where there is none, note why."""
        asked = held.asked.setdefault(key, Asked(now))
        node_id = "" if held.placed else self._node_for(held.job, held.inputs[key], key[1], asked.nodes)
        if node_id and len(asked.questions) < MOST_NODES:
            return self._ask_at(held, key, node_id, now)
        if not asked.waiting:
            asked.why = next((each.why for each in asked.questions), NOBODY)
        return []

    def _ask_at(self, held: Held, key: TaskInput, node_id: str, now: float) -> list[Outgoing]:
        asked = held.asked.setdefault(key, Asked(now))
        question = Question(f"{held.job.id}-{self._lead.epoch}-{next(self._numbers)}", node_id, now, now)
        asked.questions.append(question)
        self._by_request[question.request_id] = (held.job.id, key)
        return [self._message(held, key, question)]

    def _message(self, held: Held, key: TaskInput, question: Question) -> SendListing:
        return SendListing(question.node_id, question.request_id, held.job, *key)

    def _ask_others(self, held: Held, now: float) -> list[Outgoing]:
        """Ask other nodes for what those that were asked could not list, while there is time for that."""
        out: list[Outgoing] = []
        for key, asked in held.asked.items():
            if not asked.open or asked.waiting:
                continue
            if asked.questions and now - asked.since >= PATIENCE_SECONDS:
                asked.why = asked.questions[0].why
            else:
                out += self._ask(held, key, now)
        return out

    def _late(self, held: Held, now: float, wall: datetime) -> list[Outgoing]:
        """Ask again, or elsewhere, and give up what takes too long."""
        out: list[Outgoing] = []
        limits = [
            held.job.since + each for each in (held.job.total_timeout, held.job.queue_timeout) if each is not None
        ]
        timed_out = bool(limits) and wall >= min(limits)
        for key, asked in list(held.asked.items()):
            if not asked.open:
                continue
            if timed_out or now - held.since >= LONGEST_SECONDS:
                asked.why = "it took too long"
                continue
            for question in asked.waiting:
                out += self._late_node(held, key, asked, question, now)
            if not asked.waiting or any(each.files for each in asked.waiting):
                continue
            if now - asked.questions[0].since >= PATIENCE_SECONDS and not held.placed:
                asked.why = next((each.why for each in asked.questions if each.why), NOTHING_YET)
            elif now - asked.questions[-1].since >= OTHERS_SECONDS and now - asked.since < PATIENCE_SECONDS:
                out += self._ask(held, key, now)
        return out + self._ask_others(held, now)

    def _late_node(self, held: Held, key: TaskInput, asked: Asked, question: Question, now: float) -> list[Outgoing]:
        if not self._lead.view.hears(question.node_id):
            self._by_request.pop(question.request_id, None)
            asked.questions.remove(question)  # whoever takes its place has all the time that it had
            return []
        silent = now - max(question.since, question.heard)
        if silent >= PATIENCE_SECONDS:
            question.why = "the node that was asked says nothing"
        elif min(silent, now - question.sent) >= REPEAT_SECONDS:
            question.sent = now
            return [self._message(held, key, question)]
        return []

    def _look(self, job_id: str) -> None:
        if (held := self._held.get(job_id)) is not None and held.over:
            self._over[job_id] = None

    # ------------------------------------------------------------ what it came to

    def _pin(self) -> Commit:
        """Return the commit that pins what was listed; after it the jobs are planned."""
        chosen = [self._held[job_id] for job_id in itertools.islice(self._over, JOBS_A_COMMIT)]
        for held in chosen:
            del self._over[held.job.id]

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self._lead.view, locked, self._lead.ids)
            for held in chosen:
                pin_into(builder, held)
            return builder.build()

        def after(changes: Changes, now: float) -> list[Outgoing]:
            out = self._lead.advance(changes, now)
            for held in chosen:
                if self._held.get(held.job.id) is held:
                    self._let_go(held.job.id)
                    if len(held.refs) < len(held.inputs) and not held.placed:
                        self._give_up(held)
            return out

        return Commit("listed", frozenset(held.job.id for held in chosen), frozenset(), decide, after)

    def _give_up(self, held: Held) -> None:
        self._given_up.add((held.job.id, held.job.version))
        if len(self._unpinned) < MOST_JOBS:
            missing = {key: task for key, task in held.inputs.items() if key not in held.refs}
            self._unpinned[held.job.id] = Held(held.job, {}, missing, placed=True)

    def _tell(self, now: float) -> Commit | None:
        """Return a commit that says in the jobs' messages how far their listings are."""
        chosen = [
            held
            for held in self._held.values()
            if not held.placed
            and held.files > held.told
            and now - held.told_at >= TELL_SECONDS
            and held.job.id not in self._over
        ][:JOBS_A_COMMIT]
        if not chosen:
            return None
        for held in chosen:
            held.told, held.told_at = held.files, now
        said = {held.job.id: texts.LISTING.format(files=held.files) for held in chosen}

        def decide(locked: Locked) -> Changes:
            builder = ChangesBuilder(self._lead.view, locked, self._lead.ids)
            for job_id, message in said.items():
                builder.say(job_id, message)
            return builder.build()

        return Commit("listing", frozenset(said), frozenset(), decide, self._lead.advance)

    def _let_go(self, job_id: str) -> None:
        held = self._held.pop(job_id)
        for asked in held.asked.values():
            for question in asked.questions:
                self._by_request.pop(question.request_id, None)
        self._fresh.pop(job_id, None)
        self._refused.pop(job_id, None)
        self._over.pop(job_id, None)
        self._free += held.evaluations.values()
