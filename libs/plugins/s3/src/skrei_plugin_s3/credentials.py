"""Whether this node has credentials for objects. Secrets stay where AWS keeps them.

Looked at every few seconds on nodes that may never read an object, so without the library that uses them.
"""

import configparser
import http.client
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from skrei_plugin_s3.settings import S3Settings

METADATA = "http://169.254.169.254"
ROLE_SECONDS = 1.0
"""How long the machine's metadata service may take: it answers within milliseconds, or it is not there."""

_KEYS = {
    "aws_access_key_id", "credential_process", "login_session", "role_arn", "sso_session", "sso_start_url",
    "web_identity_token_file",
}  # fmt: skip
"""What a profile has that leads to credentials."""


def credentials(settings: S3Settings, environ: Mapping[str, str] = os.environ) -> str:
    """Return where this node's credentials come from, in words; empty where it has none. Blocks, for a second at most.

    Raises OSError and configparser.Error for files that cannot be read.
    """
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        return "variables"
    if environ.get("AWS_ROLE_ARN") and environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return "a web identity"
    own = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    profiles = _profiles(environ)
    for name in (own, *settings.profiles):
        if _KEYS & profiles.get(name, frozenset()):
            return f"the profile {name}"
    if settings.instance_role and _has_role(environ):
        return "the machine's role"
    return "none, for public buckets" if settings.anonymous else ""


def _profiles(environ: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Return what each profile has, of both files."""
    home = Path(environ.get("HOME") or "~").expanduser()
    found: dict[str, frozenset[str]] = {}
    for variable, usual in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        read = configparser.RawConfigParser(strict=False)
        read.read(Path(environ.get(variable) or home / ".aws" / usual).expanduser(), "utf-8")
        for section in read.sections():
            name = section.removeprefix("profile ").strip().strip("\"'")
            found[name] = found.get(name, frozenset()) | frozenset(read[section])
    return found


def _has_role(environ: Mapping[str, str]) -> bool:
    if environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        return True
    service = urlsplit(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA)
    connection = http.client.HTTPConnection(service.hostname or "", service.port or 80, timeout=ROLE_SECONDS)
    try:
        connection.request("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        token = connection.getresponse().read(1024).decode("latin-1")
        connection.request(
            "GET", "/latest/meta-data/iam/security-credentials/", headers={"X-aws-ec2-metadata-token": token}
        )
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and bool(answer.read(1024).strip())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
