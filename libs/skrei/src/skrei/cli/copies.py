"""What `skrei data copy` asks for: from two words to a job, and from what it left to where that is. Pure."""

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from skrei.cli import inputs
from skrei.errors import Rejected
from skrei.views import Document

SOURCE, TARGET, SUMS = "/source", "/data", "/sums"
"""Where the program finds what it copies, and where it leaves it and its digests: results of the names below."""
WEB = "urlDownload"
DATA_NAME, SUMS_NAME = "data", "sums"
MODULE = "/copy.wasm"
SOURCES = "Write a path, data://NAME[/PATH], https://…, s3://BUCKET/KEY[,opt=K=V] or ipfs://CID[/PATH]."
DESTINATIONS = (
    "Write s3://BUCKET/KEY[,opt=endpoint=…,opt=region=…], ipfs://, or the absolute path of a folder that is to be made "
    "on a node."
)
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")


def source(text: str, here: Path, checksum: str = "") -> Document:
    """Read what is to be copied, as an input. Raises Rejected.

    Where `checksum` goes with it the node compares it before anything is copied; see `expected` for the rest.
    """
    if re.fullmatch(r"ipfs:/{0,2}", text):
        raise Rejected(f"SRC {text} names no CID.", hint="For example ipfs://bafy…/2026")
    try:
        made = inputs.untargeted(text, SOURCE, here, option="SRC")
    except Rejected as error:
        raise Rejected(error.message, hint=SOURCES) from error
    if not checksum:
        return made
    if not _CHECKSUM.fullmatch(checksum):
        raise Rejected(
            f"--checksum {checksum}: not sha256: and 64 digits from 0 to f.", hint="What `sha256sum FILE` says."
        )
    if made["Source"]["Type"] == WEB:
        made["Source"]["Params"]["Checksum"] = checksum
    return made


def expected(said_source: Document, checksum: str) -> str:
    """Return the digest that the program itself has to find, in hexadecimal; empty for none."""
    return "" if said_source["Source"]["Type"] == WEB else checksum.removeprefix("sha256:")


def file_name(text: str) -> str:
    """Return what a single file is called at the destination: as it is at its source.

    What a web address asks for besides (a signature, often) is no part of its name.
    """
    path = text.partition(",opt=")[0].partition("://")[2] or text
    if text.startswith(("http://", "https://")):
        path = path.partition("#")[0].partition("?")[0]
    return posixpath.basename(path.rstrip("/")) or "data"


def publisher(text: str) -> Document:
    """Read where it shall be. Raises Rejected."""
    if re.fullmatch(r"ipfs(:/{0,2})?", text):
        return {"Type": "ipfs", "Params": {}}
    if text.startswith("s3://"):
        try:
            made = inputs.publisher(text)
        except Rejected as error:
            raise Rejected(f"DST {text} cannot be read.", hint=DESTINATIONS) from error
        if not made["Params"]["Key"].strip("/"):
            raise Rejected(f"{text} names no key.", hint=f"For example {text.rstrip('/')}/copies/2026")
        made["Params"] = {**made["Params"], "Encoding": "plain"}
        return made
    if text.startswith("/") and posixpath.normpath(text) != "/":
        folder, name = posixpath.split(posixpath.normpath(text))
        if folder == "/" or name.startswith("."):
            shown = name.lstrip(".") or "copy"
            raise Rejected(
                f"{text} is no folder that a node makes for a copy.",
                hint="It lies in a folder that the node's owner lets jobs write to, and is not hidden: for example "
                + posixpath.join("/srv" if folder == "/" else folder, shown),
            )
        return {"Type": "localDirectory", "Params": {"Path": folder, "Key": name}}
    raise Rejected(f"{text} is no place to copy to.", hint=DESTINATIONS)


def task(
    said_source: Document,
    name: str,
    said_publisher: Document,
    module_url: str,
    resources: Document,
    *,
    digest: str = "",
) -> Document:
    """Return the task that copies; with a `digest` it is one file that has it."""
    words = [SOURCE, TARGET, SUMS, name, *([digest] if digest else [])]
    return {
        "Name": "copy",
        "Engine": {
            "Type": "wasm",
            "Params": {"EntryModule": MODULE, "Parameters": words},
        },
        "InputSources": [
            {"Source": {"Type": "inline", "Params": {"URL": module_url}}, "Target": MODULE},
            said_source,
        ],
        "ResultPaths": [{"Name": DATA_NAME, "Path": TARGET}, {"Name": SUMS_NAME, "Path": SUMS}],
        "Publisher": said_publisher,
        "Network": {"Type": "None"},
        "Resources": resources,
    }


def address(published: Mapping[str, object]) -> str:
    """Return where a copy is, as an input would name it; of one on a node, its path. Empty where nobody says."""
    params = published.get("Params")
    if not isinstance(params, Mapping):
        return ""
    kind = str(published.get("Type") or "").lower()
    if kind == "ipfs" and params.get("CID"):
        return f"ipfs://{params['CID']}/{DATA_NAME}"
    if kind.startswith("s3") and params.get("Bucket"):
        options = "".join(f",opt={name.lower()}={params[name]}" for name in ("Endpoint", "Region") if params.get(name))
        return f"s3://{params['Bucket']}/{str(params.get('Key') or '').rstrip('/')}/{DATA_NAME}/{options}"
    if kind == "localdirectory" and params.get("Path"):
        return f"{str(params['Path']).rstrip('/')}/{DATA_NAME}"
    return ""
