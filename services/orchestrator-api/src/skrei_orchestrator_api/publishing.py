"""What the API asks of the publisher: whether a job's destination is one, and addresses by which results are read.

Neither is needed for a job to be taken or a result to be listed: where the publisher is away, the destination is found
wanting as the result is brought there, and results are read through the publisher's own door.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from typing import Any

from skrei_domain.destinations import ON_NODES, STORE, publisher_name
from skrei_domain.job import JobSpec
from skrei_domain.job_reading import FieldProblem, InvalidJob
from skrei_kit.observability import get_logger

log = get_logger()

DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # what opens the stack's doors is no proxy's
CHECK_SECONDS = 5.0
"""How long a submission waits for the publisher to say whether its destination is one: it looks at words alone."""
ADDRESS_SECONDS = 20.0
"""How long a list of results waits for addresses: signing one takes a fraction of a millisecond."""
KEPT = 256
"""Destinations that were found right: a burst of jobs names one, many times over."""


class Destinations:
    """The publisher's word on destinations, by its door and the stack's internal token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._right: OrderedDict[str, None] = OrderedDict()

    async def check(self, spec: JobSpec) -> None:
        """Raise InvalidJob where a task's destination is none, naming every field that is wrong."""
        problems: list[FieldProblem] = []
        for number, task in enumerate(spec.tasks):
            own = {n: path.publisher for n, path in enumerate(task.result_paths) if path.publisher is not None}
            where = f"Tasks[{number}]"
            named = {f"{where}.ResultPaths[{n}].Publisher": publisher for n, publisher in own.items()}
            for path, publisher in ({f"{where}.Publisher": task.publisher} | named).items():
                name = publisher_name(publisher.type)
                if name != STORE and name not in ON_NODES:
                    found = await self._problems(name, publisher.params, of_path=bool(own))
                    problems += [each._replace(path=f"{path}.{each.path}") for each in found]
        if problems:
            raise InvalidJob(problems)

    async def addresses(self, results: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[str]:
        """Return an address for each (execution, publisher, params); empty where there is none, or nobody says."""
        wanted = [{"execution_id": i, "publisher": name, "params": dict(params)} for i, name, params in results]
        told = await self._ask("/internal/addresses", wanted, ADDRESS_SECONDS) if wanted else {}
        found = told.get("addresses") if told else None
        return [str(each) for each in found] if found and len(found) == len(wanted) else [""] * len(wanted)

    async def _problems(self, name: str, params: Mapping[str, Any], *, of_path: bool) -> list[FieldProblem]:
        asked = {"type": name, "params": dict(params), **({"of_path": True} if of_path else {})}
        key = json.dumps(asked, sort_keys=True)
        if key in self._right:
            self._right.move_to_end(key)
            return []
        told = await self._ask("/internal/destination", asked, CHECK_SECONDS)
        if told is None:
            return []
        problems = [FieldProblem(*map(str, each)) for each in told.get("problems", ())]
        if not problems:
            self._right[key] = None
            if len(self._right) > KEPT:
                self._right.popitem(last=False)
        return problems

    async def _ask(self, path: str, body: object, seconds: float) -> dict[str, Any] | None:
        """Return the publisher's answer; None where it gives none."""
        try:
            return await asyncio.to_thread(self._post, path, json.dumps(body).encode(), seconds)
        except (OSError, HTTPException, ValueError) as error:
            log.warning("publisher_not_asked", path=path, reason=str(error))
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is an answer, on a connection
            return None

    def _post(self, path: str, body: bytes, seconds: float) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._url}{path}",
            data=body,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with DIRECTLY.open(request, timeout=seconds) as response:  # the publisher's own, from settings
            answer = json.loads(response.read())
        if not isinstance(answer, dict):
            raise ValueError("the publisher's answer is no object")
        return answer
