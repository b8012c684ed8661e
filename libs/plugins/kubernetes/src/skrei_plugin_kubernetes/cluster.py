"""The cluster's API, as far as one engine needs it: pods and commands in them, and Secrets."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from skrei_domain.errors import SkreiError
from skrei_plugin_kubernetes.access import Access
from skrei_plugin_kubernetes.command import PROTOCOL, Command

if TYPE_CHECKING:
    import aiohttp

Pod = dict[str, Any]
"""A pod as the API tells it."""

MOST_MESSAGE_BYTES = 4 * 1024 * 1024
"""One message of a command's output: kubelets send some KiB each."""
PAGE = 500
"""Pods of one answer."""


class ClusterAway(SkreiError):
    """The cluster's API cannot be reached, or does not answer."""

    code = "kubernetes-away"
    retryable = True


class Refused(Exception):
    """The API says no to a request: its status, reason and words."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = " ".join(message.split())


class Cluster:
    """One namespace of a cluster; belongs to the event loop that uses it first."""

    def __init__(self, access: Access, namespace: str, *, answer_seconds: float) -> None:
        self._access = access
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._answer_seconds = answer_seconds
        self._session: aiohttp.ClientSession | None = None

    async def version(self) -> str:
        """Return the server's version, `v1.34.4`. Raises ClusterAway, Refused."""
        return str((await self._ask("GET", "/version"))["gitVersion"])

    async def create(self, pod: Pod) -> Pod:
        """Make a pod. Raises ClusterAway, Refused."""
        return await self._ask("POST", self._pods, body=pod)

    async def read(self, name: str, namespace: str = "") -> Pod | None:
        """Return a pod of this namespace or of another; None where there is none. Raises ClusterAway, Refused."""
        pods = f"/api/v1/namespaces/{namespace}/pods" if namespace else self._pods
        try:
            return await self._ask("GET", f"{pods}/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def pods(self, labels: Mapping[str, str]) -> list[Pod]:
        """Return the pods with these labels that are not being removed. Raises ClusterAway, Refused."""
        found: list[Pod] = []
        more = ""
        while True:
            selector = ",".join(f"{name}={value}" for name, value in labels.items())
            query = {"labelSelector": selector, "limit": str(PAGE)} | ({"continue": more} if more else {})
            page = await self._ask("GET", self._pods, query=query)
            found += [pod for pod in page["items"] if not pod["metadata"].get("deletionTimestamp")]
            more = page["metadata"].get("continue") or ""
            if not more:
                return found

    async def remove(self, name: str, grace_seconds: int) -> None:
        """Ask that a pod is removed; one that is not there is. Raises ClusterAway, Refused."""
        try:
            await self._ask("DELETE", f"{self._pods}/{name}", body={"gracePeriodSeconds": grace_seconds})
        except Refused as refused:
            if refused.status != 404:
                raise

    @asynccontextmanager
    async def command(
        self, pod: str, container: str, words: Sequence[str], *, speaks: bool = False
    ) -> AsyncIterator[Command]:
        """Run a command in a pod's container while the context is open. `speaks`: it is sent something.

        Raises ClusterAway and Refused, also while it runs.
        """
        query = [("container", container), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if speaks else []
        query += [("command", word) for word in words]
        import aiohttp
        from yarl import URL

        url = URL(f"{self._access.server}{self._pods}/{pod}/exec").with_query(query)
        try:
            async with asyncio.timeout(self._answer_seconds):
                socket = await self._client().ws_connect(
                    url, protocols=(PROTOCOL,), headers=self._access.headers(), max_msg_size=MOST_MESSAGE_BYTES
                )
        except aiohttp.WSServerHandshakeError as error:
            told = f"no command can be run in {pod}/{container}: {error.status} {error.message}"
            raise (ClusterAway(told) if error.status >= 500 else Refused(error.status, told)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _away(error) from error
        try:
            yield Command(socket)
        except (aiohttp.ClientError, OSError) as error:
            raise _away(error) from error
        finally:
            await socket.close()

    async def secret(self, name: str) -> dict[str, str] | None:
        """Return the data of a Secret, in base64; None where there is none. Raises ClusterAway, Refused."""
        try:
            return dict((await self._ask("GET", f"{self._secrets}/{name}")).get("data") or {})
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def keep_secret(self, name: str, data: Mapping[str, str]) -> None:
        """Make a Secret hold exactly this, in base64. Raises ClusterAway, Refused."""
        metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "skrei"}}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": dict(data)}
        if await self.secret(name) is None:
            await self._ask("POST", self._secrets, body=body)
        else:
            await self._ask("PUT", f"{self._secrets}/{name}", body=body)

    async def forget_secret(self, name: str) -> None:
        """Remove a Secret; one that is not there is removed. Raises ClusterAway, Refused."""
        try:
            await self._ask("DELETE", f"{self._secrets}/{name}")
        except Refused as refused:
            if refused.status != 404:
                raise

    async def close(self) -> None:
        """Close the connections. Safe twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> "aiohttp.ClientSession":
        if self._session is None:
            import aiohttp  # 10 MB and 0.2 s: a node outside a cluster does without

            connector = aiohttp.TCPConnector(ssl=self._access.tls(), limit=0)  # one for each run that is followed
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=self._answer_seconds)
            )
        return self._session

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> dict[str, Any]:
        import aiohttp
        from yarl import URL

        url = URL(f"{self._access.server}{path}").with_query(query)
        try:
            async with self._client().request(method, url, json=body, headers=self._access.headers()) as answer:
                said = await answer.read()
                if answer.status < 400:
                    return dict(json.loads(said))
                raise _refused(answer.status, said)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _away(error) from error


def _away(error: Exception) -> ClusterAway:
    told = str(error) or type(error).__name__
    return ClusterAway(f"the cluster's API does not do what it is asked: {told}")


def _refused(status: int, said: bytes) -> Exception:
    try:
        told = json.loads(said)
        message, reason = str(told.get("message") or ""), str(told.get("reason") or "")
    except (ValueError, AttributeError):
        message, reason = said[:500].decode("utf-8", "replace"), ""
    if status >= 500 or status == 429:
        return ClusterAway(f"the cluster's API answers {status}: {message}")
    return Refused(status, message or f"it answers {status}", reason)
