"""`--input`, `--output`, `--env` and what else says something in one word: from text to parts of a job. Pure."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from skrei.errors import Rejected
from skrei.views import Document

INPUT_TARGET = "/inputs"
SCHEMES = {"http": "urlDownload", "https": "urlDownload", "s3": "s3", "ipfs": "ipfs", "data": "data"}
S3_OPTIONS = {
    "endpoint": "Endpoint",
    "region": "Region",
    "versionid": "VersionID",
    "checksum-256": "ChecksumSHA256",
    "filter": "Filter",
}
PARTITION = "partition"
"""An option of ours: `object` deals the objects out to the partitions of the job; other ways need a job file."""
_LISTED = re.compile(r",(opt|dst|destination|target)=")
FORMS = (
    "Write PATH:TARGET, file://PATH:TARGET, data://NAME:TARGET, s3://BUCKET/KEY:TARGET, "
    "ipfs://CID:TARGET, https://…:TARGET, or src=…,dst=…,opt=K=V."
)


def input_source(text: str, here: Path, *, option: str = "--input") -> Document:
    """Read one input; a path of this machine is made absolute from `here`. Raises Rejected."""
    if text.startswith("s3://") and _LISTED.search(text):
        source, target, options = _csv(f"src={text}", option)
    else:
        source, target, options = _csv(text, option) if text.startswith(("src=", "source=")) else _plain(text, option)
    return _input(source, target, options, here, f"{option} {text}") | {"Alias": text}


def untargeted(text: str, target: str, here: Path, *, option: str) -> Document:
    """Read one input that says nothing of its target: but for options of S3 all of it is where it comes from.

    Raises Rejected.
    """
    source, options = text, dict[str, str]()
    if text.startswith("s3://") and ",opt=" in text:
        source, _, options = _csv(f"src={text}", option)
    return _input(source, target, options, here, f"{option} {text}") | {"Alias": text}


def _input(source: str, target: str, options: Mapping[str, str], here: Path, said: str) -> Document:
    scheme, separator, rest = source.partition("://")
    if separator and scheme.lower() not in {*SCHEMES, "file"}:
        raise Rejected(f"{said}: {scheme}:// is not known here.", hint=FORMS)
    if not target.startswith("/"):
        raise Rejected(f"{said}: the target {target!r} is no absolute path.", hint=FORMS)
    if separator and scheme.lower() != "file":
        params = _remote(scheme.lower(), source, rest, options, said)
        return {"Source": {"Type": SCHEMES[scheme.lower()], "Params": params}, "Target": target}
    path = os.path.normpath(here / Path(source.removeprefix("file://")).expanduser())
    params = {"SourcePath": path} | ({"ReadWrite": True} if options.get("rw", "false") != "false" else {})
    return {"Source": {"Type": "local", "Params": params}, "Target": target}


def _plain(text: str, option: str) -> tuple[str, str, dict[str, str]]:
    """Read `SOURCE[:TARGET[:ro|:rw]]`; a colon belongs to the target only where a `/` follows it."""
    options = {"rw": "true"} if text.endswith(":rw") else {}
    text = text.removesuffix(":rw").removesuffix(":ro")
    start = text.index("://") + 3 if "://" in text else 0
    cut = text.rfind(":/", start)
    if cut < 0:
        if ":" in text[start:] and not start:
            raise Rejected(f"{option} {text}: what stands behind the colon is no absolute path.", hint=FORMS)
        return text, INPUT_TARGET, options
    return text[:cut], text[cut + 1 :], options


def _csv(text: str, option: str) -> tuple[str, str, dict[str, str]]:
    """Read `src=…,dst=…,opt=K=V`."""
    source, target, options = "", INPUT_TARGET, {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key in ("src", "source"):
            source = value
        elif key in ("dst", "destination", "target"):
            target = value
        elif key == "opt":
            name, separator, said = value.partition("=")
            options[name.lower()] = said if separator else "true"
        else:
            raise Rejected(f"{option} {text}: {key!r} is not known; use src=, dst= and opt=.", hint=FORMS)
    if not source:
        raise Rejected(f"{option} {text}: src= names nothing.", hint=FORMS)
    return source, target, options


def _remote(scheme: str, source: str, rest: str, options: Mapping[str, str], said: str) -> Document:
    if scheme in ("http", "https"):
        return {"URL": source}
    if scheme == "data":
        return _data(rest, options, said)
    if scheme == "ipfs":
        return {"CID": rest}
    bucket, _, key = rest.partition("/")
    how = options.get(PARTITION)
    unknown = [name for name in options if name not in (*S3_OPTIONS, PARTITION)]
    if not bucket or unknown:
        known = ", ".join((*S3_OPTIONS, PARTITION))
        told = f"opt={unknown[0]} is not known; use {known}" if unknown else "no bucket is named"
        raise Rejected(f"{said}: {told}.", hint=FORMS)
    if how not in (None, "object"):
        raise Rejected(f"{said}: opt=partition={how} is not `object`.", hint="Other partitions are said in a job file.")
    params: Document = {"Bucket": bucket, "Key": key}
    params |= {S3_OPTIONS[name]: value for name, value in options.items() if name != PARTITION}
    return params | ({} if how is None else {"Partition": {"Type": how}})


def _data(rest: str, options: Mapping[str, str], said: str) -> Document:
    """Read `NAME[/PATH]`: a data set that nodes declare, or a part of it."""
    name, _, path = rest.partition("/")
    if not name:
        raise Rejected(f"{said}: no data set is named.", hint=FORMS)
    writes = {"ReadWrite": True} if options.get("rw", "false") != "false" else {}
    return {"Name": name} | ({"Path": path} if path else {}) | writes


def result_path(text: str) -> Document:
    """Read `NAME:PATH`. Raises Rejected."""
    name, separator, path = text.partition(":")
    if not (name and separator and path.startswith("/")):
        raise Rejected(
            f"--output {text}: not NAME:PATH with an absolute path.", hint="For example --output results:/outputs"
        )
    if not path.strip("/"):
        raise Rejected(
            f"--output {text}: {path} is where all of the program's files lie.",
            hint=f"For example --output {name}:/outputs",
        )
    return {"Name": name, "Path": path}


def publisher(text: str) -> Document:
    """Read `NAME`, or `s3://BUCKET/KEY[,opt=K=V]`. Raises Rejected."""
    target, *parts = text.split(",")
    scheme, separator, rest = target.partition("://")
    if not separator and re.fullmatch(r"[\d.:]*\d(/\w+)?", target):
        raise Rejected(
            f"--publisher {text}: a run publishes no ports; -p is where its results go.",
            hint="A job file asks for ports: `skrei job init --service FILE` writes one.",
        )
    if not separator:
        return {"Type": target, "Params": {}}
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or not all(part.startswith("opt=") and "=" in part[4:] for part in parts):
        raise Rejected(f"--publisher {text}: not known here.", hint="For example s3://BUCKET/KEY,opt=region=eu-west-1")
    options = {
        S3_OPTIONS.get(name.lower(), name): value for name, _, value in (part[4:].partition("=") for part in parts)
    }
    return {"Type": "s3", "Params": {"Bucket": bucket, "Key": key} | options}


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """Read `KEY=VALUE` each, or several of them joined by commas. Raises Rejected."""
    found = {}
    for text in _apart(texts):
        key, separator, value = text.partition("=")
        if not (key and separator):
            raise Rejected(f"{option} {text}: not KEY=VALUE.", hint=f"For example {option} region=eu")
        found[key] = value
    return found


def _apart(texts: Iterable[str]) -> Iterable[str]:
    """Yield `a=1` and `b=2` of `a=1,b=2`; a comma that no other `KEY=` follows belongs to the value."""
    for text in texts:
        yield from re.split(r",(?=[^,=]+=)", text)


def environment(texts: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """Read `NAME=VALUE` each; a NAME alone takes its value from `own`. Raises Rejected."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            if key not in own:
                raise Rejected(f"--env {text}: no {key} is set here.", hint=f"Give it a value: --env {key}=VALUE")
            value = own[key]
        found[key] = value
    return found


def variables(patterns: Iterable[str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `own` whose whole name one of the regular expressions describes. Raises Rejected."""
    found: dict[str, str] = {}
    for pattern in patterns:
        try:
            wanted = re.compile(".*" if pattern == "*" else pattern)
        except re.error as error:
            raise Rejected(
                f"--template-envs {pattern}: not a regular expression: {error}.", hint="For example -E 'CI_.*'"
            ) from error
        found |= {name: value for name, value in own.items() if wanted.fullmatch(name)}
    return found


def constraints(text: str) -> list[Document]:
    """Read a label selector. Raises Rejected."""
    from skrei_domain.constraints import parse

    try:
        found = parse(text)
    except ValueError as error:
        raise Rejected(
            f"--constraints: {error}.".replace("..", "."), hint='For example --constraints "region=eu,!gpu"'
        ) from error
    return [{"Key": one.key, "Operator": one.operator, "Values": list(one.values)} for one in found]
