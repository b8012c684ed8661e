"""Whether a node has credentials, found without Amazon's library, and what its owner may say."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from skrei_plugin_api.aside import apart
from skrei_plugin_api.plugin import PluginContext
from skrei_plugin_s3.credentials import credentials
from skrei_plugin_s3.settings import S3Settings
from skrei_plugin_s3.storage import S3Storage

KEYS = "aws_access_key_id = A\naws_secret_access_key = B\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.mark.row("6.1/s3-offered")
@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ""),
        ({"AWS_ACCESS_KEY_ID": "A"}, ""),
        ({"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B"}, "variables"),
        ({"AWS_ROLE_ARN": "r", "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}, "a web identity"),
    ],
)
def test_variables_are_credentials(home: Path, environ: dict[str, str], found: str) -> None:
    assert credentials(S3Settings(), {"HOME": str(home)} | environ) == found


@pytest.mark.row("6.1/s3-offered")
@pytest.mark.parametrize(
    ("file", "text", "environ", "found"),
    [
        ("credentials", f"[default]\n{KEYS}", {}, "the profile default"),
        ("credentials", f"[work]\n{KEYS}", {}, ""),
        ("credentials", f"[work]\n{KEYS}", {"AWS_PROFILE": "work"}, "the profile work"),
        ("config", f"[profile work]\n{KEYS}", {"AWS_PROFILE": "work"}, "the profile work"),
        ("config", "[default]\nregion = eu-west-1\n", {}, ""),
        ("config", "[default]\nsso_session = me\n", {}, "the profile default"),
    ],
)
def test_files_of_the_nodes_user_are_credentials(
    home: Path, file: str, text: str, environ: dict[str, str], found: str
) -> None:
    (home / ".aws" / file).write_text(text)
    assert credentials(S3Settings(), {"HOME": str(home)} | environ) == found


def test_a_profile_that_the_owner_names_is_looked_at_too(home: Path) -> None:
    (home / ".aws" / "config").write_text(f"[profile minio]\nendpoint_url = http://10.0.0.5:9000\n{KEYS}")
    settings = S3Settings.from_options({"s3_profiles": "minio other"})
    assert settings.profiles == ("minio", "other")
    assert credentials(settings, {"HOME": str(home)}) == "the profile minio"


def test_nobody_needs_credentials_for_what_is_public(home: Path) -> None:
    settings = S3Settings.from_options({"s3_anonymous": "true"})
    assert credentials(settings, {"HOME": str(home)}) == "none, for public buckets"


@contextmanager
def a_metadata_service(role: bytes) -> Iterator[str]:
    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.answer(b"token")

        def do_GET(self) -> None:
            self.answer(role if self.headers["X-aws-ec2-metadata-token"] == "token" else b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.row("6.1/s3-role")
@pytest.mark.parametrize(
    ("allowed", "role", "found"), [("true", b"role", "the machine's role"), ("true", b"", ""), ("false", b"role", "")]
)
def test_the_role_of_the_machine_is_used_where_its_owner_allows_it(
    home: Path, allowed: str, role: bytes, found: str
) -> None:
    settings = S3Settings.from_options({"s3_instance_role": allowed})
    with a_metadata_service(role) as url:
        environ = {"HOME": str(home), "AWS_EC2_METADATA_SERVICE_ENDPOINT": url}
        assert credentials(settings, environ) == found


@pytest.mark.row("6.1/s3-offered")
async def test_a_node_says_why_it_offers_no_s3(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    storage = S3Storage(PluginContext(home))
    assert (await apart(storage.describe)).reason == "this node has no credentials for S3 (docs/INPUTS.md)"
    (home / ".aws" / "credentials").write_text(f"[default]\n{KEYS}")
    assert (await apart(storage.describe)).available, "they are found once they are there"
    (home / ".aws" / "credentials").write_text("nonsense")
    assert "cannot be read: MissingSectionHeaderError" in (await apart(storage.describe)).reason


@pytest.mark.parametrize("options", [{"s3_anonymous": "maybe"}, {"s3_anonymus": "true"}])
async def test_a_misspelt_option_is_why_s3_is_away(tmp_path: Path, options: dict[str, str]) -> None:
    told = await apart(S3Storage(PluginContext(tmp_path, options=options)).describe)
    assert (told.available, next(iter(options)) in told.reason) == (False, True)
