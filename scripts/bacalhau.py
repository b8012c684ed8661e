"""`.cache/bacalhau`: Bacalhau's own command line, built from what the Go module proxy serves, unmodified.

The conformance tests drive a stack with it where it is there. It takes some minutes and 2 GB of Go's caches to build:
nobody needs it, and `make bacalhau` alone builds it. Go checks the module against its public checksum database.
"""

import json
import os
import shutil
import subprocess
import sys

from scripts.environment import ROOT, one_at_a_time

MODULE, VERSION = "github.com/bacalhau-project/bacalhau", "v1.9.3"
FOLDER = ROOT / ".cache/bacalhau"
COMMAND = FOLDER / VERSION / "bacalhau"
OURS = {"GOFLAGS": "-mod=mod -buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0"}
STEP_SECONDS = 3600  # four minutes on two idle cores; a compiler may have to be fetched


def build() -> None:
    """Build the command, unless it is there. Raises SubprocessError, OSError where there is no go.

    `go install`, as `scripts.tools` has it, is not enough: the command embeds files that the module does not have.
    """
    if COMMAND.exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    environment = os.environ | OURS
    found = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        cwd=FOLDER, env=environment, check=True, stdout=subprocess.PIPE, timeout=STEP_SECONDS,
    )  # fmt: skip
    source = FOLDER / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(json.loads(found.stdout)["Dir"], source, copy_function=shutil.copyfile)
    for folder in (source, *source.rglob("*/")):
        folder.chmod(0o755)
    web = source / "webui/build"  # what its web UI is built into; the command embeds it, whatever it holds
    web.mkdir(parents=True, exist_ok=True)
    (web / "index.html").write_text("not built\n")
    made = FOLDER / "bacalhau"
    flags = f"-s -w -X {MODULE}/pkg/version.GITVERSION={VERSION}"
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", flags, "-o", made, "."],
        cwd=source, env=environment, check=True, timeout=STEP_SECONDS,
    )  # fmt: skip
    COMMAND.parent.mkdir(exist_ok=True)
    made.replace(COMMAND)
    shutil.rmtree(source)


if __name__ == "__main__":
    try:
        with one_at_a_time(ROOT / ".cache"):
            build()
    except (OSError, subprocess.SubprocessError) as error:
        sys.exit(f"Bacalhau's command line could not be built: {error}\nIt wants Go and its module proxy.")
    print(COMMAND)
