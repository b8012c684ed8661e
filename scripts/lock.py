"""Pin what is installed: `make lock` writes `requirements/{runtime,dev,build,clients}.txt`, and a file for each image
below `requirements/images`, from the pyproject files.

Versions that are pinned already stay, unless `UPGRADE=1` (or `UPGRADE=<package>`) asks for newer ones. The files name
packages, versions and digests, never an index: that is for each user's pip settings to say.
"""

import os
import sys

from scripts import environment, fetch_uv, images, pip_settings

HEADER = """\
# {what}
# Written by `make lock` from the pyproject.toml files; not edited by hand.
"""


def main() -> int:
    """Write the files; 1 and a sentence on stderr when that fails."""
    settings = pip_settings.read()
    words = environment.uv_environment(settings, os.environ)
    words["UV_CUSTOM_COMPILE_COMMAND"] = "make lock"
    upgrade = os.environ.get("UPGRADE", "")
    flags = ["--upgrade"] if upgrade == "1" else ["--upgrade-package", upgrade] if upgrade else []
    own = [
        part
        for folder in environment.members(environment.ROOT)
        for part in ("--no-emit-package", environment.project_name(folder))
    ]
    try:
        uv = environment.find_uv(settings, words)
        base = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        base += ["--no-header", "--annotation-style", "line", *flags, *own]
        _compile(base, words, "build", "The build backends.", ["requirements/build.in"])
        _compile(
            [*base, "--no-deps"], words, "clients", "Other people's clients (`make test`).", ["requirements/clients.in"]
        )
        _compile(
            base,
            words,
            "runtime",
            "What Skrei runs on (`make demo`).",
            ["-c", "requirements/build.txt", "pyproject.toml"],
        )
        groups = ["--group", "dev", "--group", "wasm"]
        _compile(
            base,
            words,
            "dev",
            "Runtime, tools and tests (`make test`).",
            ["-c", "requirements/build.txt", "-c", "requirements/runtime.txt", *groups, "pyproject.toml"],
        )
        for target, image in images.IMAGES.items():
            wanted = [f"{folder}/pyproject.toml" for folder in image.folders]
            wanted += [part for extra in image.extras for part in ("--extra", extra)]
            constraints = ["-c", "requirements/build.txt", "-c", "requirements/runtime.txt"]
            _compile(base, words, f"images/{target}", f"What the image `{target}` holds.", [*constraints, *wanted])
    except (environment.SetUpError, fetch_uv.FetchError) as error:
        sys.stderr.write(f"Locking failed: {error}\n")
        return 1
    return 0


def _compile(base: list[str], words: dict[str, str], name: str, what: str, sources: list[str]) -> None:
    target = environment.ROOT / f"requirements/{name}.txt"
    environment.run([*base, *sources, "-o", f"requirements/{name}.txt"], words)
    pins = target.read_text().split("\n# The following packages were excluded")[0].rstrip("\n")
    body = "\n".join(line for line in pins.splitlines() if not line.startswith("# "))
    target.write_text(HEADER.format(what=what) + body + "\n")


if __name__ == "__main__":
    sys.exit(main())
