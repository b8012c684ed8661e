"""The server about itself, and proving who one is: over a real record."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from skrei_domain.errors import Invalid
from skrei_kit.settings import load
from skrei_orchestrator_api.app import build
from skrei_orchestrator_api.settings import Settings
from tests.support.api import JOBS, OWNER_TOKEN, Api, running_api
from tests.support.client_key import proof

AUTH = "/api/v1/auth"


@pytest.fixture
async def api(postgres_url: str, nats_url: str) -> AsyncIterator[Api]:
    async with running_api(postgres_url, nats_url) as running:
        yield running


def from_elsewhere(api: Api, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=build(api.deps), client=("203.0.113.9", 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://10.0.0.1:1234", headers=headers)


@pytest.mark.row(
    "1.3/cli-sequence", "1.3/method", "1.3/methods", "1.3/post", "9.3/ask", "9.3/challenge", "12/jwt-times"
)
async def test_a_client_proves_its_key_and_goes_on_with_the_token_that_it_gets(api: Api) -> None:
    told = (await api.http.get(AUTH)).json()
    assert told["NextToken"] == ""
    (name,) = told["Methods"]
    requirement = told["Methods"][name]
    assert (name, requirement["type"]) == ("ClientKey", "challenge")
    assert (await api.http.get(f"{AUTH}/{name}")).json() == requirement
    answer = await api.http.post(f"{AUTH}/{name}", json=proof(requirement["params"]["InputPhrase"]))
    assert (answer.status_code, answer.json()["Authentication"]["success"]) == (200, True)
    token = answer.json()["Authentication"]["token"]
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert (claims["iss"], claims["aud"], len(claims["sub"])) == ("skrei", ["skrei"], 64)
    assert claims["exp"] - claims["iat"] == 30 * 86_400, "seconds, where the original counts microseconds"
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await api.http.get(JOBS, headers=bearer)).status_code == 200


@pytest.mark.row("1.3/none-where-tokens-count")
async def test_from_elsewhere_there_is_no_method_and_a_clients_token_opens_nothing(api: Api) -> None:
    answer = await api.http.post(f"{AUTH}/ClientKey", json=proof("c2tyZWk="))
    token = answer.json()["Authentication"]["token"]
    async with from_elsewhere(api) as stranger:
        assert (await stranger.get(AUTH)).json()["Methods"] == {}
        refused = await stranger.post(f"{AUTH}/ClientKey", json=proof("c2tyZWk="))
        assert (refused.status_code, refused.json()["Authentication"]["success"]) == (401, False)
        assert "owner token" in refused.json()["Authentication"]["reason"]
        shown = await stranger.get(JOBS, headers={"Authorization": f"Bearer {token}"})
        assert (shown.status_code, shown.json()["Component"]) == (401, "Authorizer")
        assert (await stranger.get(JOBS, headers={"Authorization": f"Bearer {OWNER_TOKEN}"})).status_code == 200


@pytest.mark.row("1.3/post")
async def test_a_proof_that_does_not_hold_is_401_and_what_is_none_400(api: Api) -> None:
    wrong = await api.http.post(f"{AUTH}/ClientKey", json=proof("YW5vdGhlcg=="))
    assert (wrong.status_code, wrong.json()["Authentication"]) == (
        401,
        {"success": False, "reason": "the phrase was not signed by that key"},
    )
    no_key = base64.b64encode(b'{"PhraseSignature":"","PublicKey":""}').decode()
    bad_key = await api.http.post(f"{AUTH}/ClientKey", json={"MethodData": no_key})
    assert (bad_key.status_code, bad_key.json()["Authentication"]["success"]) == (401, False)
    for data in (None, 7, "", "%", base64.b64encode(b"[]").decode(), base64.b64encode(b"{}").decode(), "A" * 20_000):
        answer = await api.http.post(f"{AUTH}/ClientKey", json={"MethodData": data})
        assert (answer.status_code, answer.json()["Component"]) == (400, "Authenticator"), data
    for method in ("get", "post"):
        assert (await api.http.request(method, f"{AUTH}/Nobody", json={})).status_code == 404


@pytest.mark.row("1.2/config", "1.1/listen")
async def test_the_config_is_told_without_secrets(postgres_url: str, nats_url: str, tmp_path: Any) -> None:
    changes = {
        "join_token_file": tmp_path / "join",
        "api_allowed_hosts": ("a.example",),
        "api_url": "http://me:pass-word@a.example:1234",
    }
    async with running_api(postgres_url, nats_url, **changes) as api:
        answer = await api.http.get("/api/v1/agent/config")
    config = answer.json()["config"]
    assert (config["API"]["Host"], config["API"]["Port"], config["NameProvider"]) == ("127.0.0.1", 1234, "puuid")
    assert config["Orchestrator"] == {"Enabled": True, "Auth": {"Token": "********"}}
    assert "Compute" not in config
    assert config["Skrei"]["database_url"] == "********"
    assert config["Skrei"]["api_url"] == "http://********@a.example:1234"
    assert config["Skrei"]["api_allowed_hosts"] == ["a.example"]
    assert "pass-word" not in answer.text


@pytest.mark.row("1.2/debug")
async def test_the_parts_tell_how_they_are(api: Api) -> None:
    await api.submit()
    await api.rows.node("n-1")
    await api.rows.node("n-2", "DISCONNECTED")
    told = (await api.http.get("/api/v1/agent/debug")).json()
    assert told["Jobs"] == {"ActiveJobs": 1}
    assert told["Nodes"] == {"DiscoveredNodes": 2, "ConnectedNodes": 1}
    assert told["Transport"] == {"Connected": True}
    assert told["API"]["Requests"] >= 2


@pytest.mark.row("1.2/authconfig", "9.3/sso")
async def test_who_cannot_sign_on_elsewhere_is_told_an_empty_provider(api: Api) -> None:
    async with from_elsewhere(api) as stranger:
        told = (await stranger.get("/api/v1/agent/authconfig")).json()
    assert (told["Version"], told["Config"]["ProviderID"]) == ("1.0.0", "")


@pytest.mark.row("9.1/access-policy", "9.4/tls")
def test_what_later_versions_bring_is_no_setting_yet(tmp_path: Path) -> None:
    for name in ("access_policy_path", "tls_cert_file"):
        config = tmp_path / "config.yaml"
        config.write_text(f"{name}: /somewhere\n")
        with pytest.raises(Invalid, match=f"unknown setting '{name}'"):
            load(Settings, config=config)
