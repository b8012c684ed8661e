"""A newcomer's home folder: nothing installed, the wheels of this checkout beside it, no package index to ask."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts import environment, pip_settings
from scripts.environment import ROOT
from tests.support.servers import server_folder


@dataclass(slots=True)
class Newcomer:
    """A home folder that nothing was installed into yet; `words` is the whole environment of its programs."""

    home: Path
    wheels: Path
    words: dict[str, str]

    def run(self, *command: str, **words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as this user, who stands in the own home folder."""
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.words | words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def install(self, **words: str) -> subprocess.CompletedProcess[str]:
        return self.run("sh", str(self.wheels / "install.sh"), **words)

    @property
    def skrei(self) -> str:
        return str(self.home / ".local/bin/skrei")


@contextmanager
def newcomers(*names: str) -> Iterator[list[Newcomer]]:
    """Build the wheels once; what they depend on is where this checkout's set-up has left it."""
    settings = pip_settings.read()
    own = environment.uv_environment(settings, os.environ)
    uv = environment.find_uv(settings, own)
    cache = subprocess.run([uv, "cache", "dir"], env=own, capture_output=True, text=True, check=True).stdout.strip()
    with server_folder() as folder:
        command = [sys.executable, "-m", "scripts.dist", str(folder / "wheels")]
        built = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
        assert built.returncode == 0, built.stderr.decode()
        made = []
        for name in names:
            home = folder / name
            (home / ".local/share/skrei").mkdir(parents=True)
            # What the installer would fetch, where it would put it: here there may be no index at all.
            if (fetched := ROOT / ".cache" / Path(uv).parent.name).is_dir():
                shutil.copytree(fetched, home / ".local/share/skrei" / fetched.name)
            words = {
                "HOME": str(home),
                "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}",
                "UV_OFFLINE": "1",
                "UV_CACHE_DIR": cache,
                "LANG": "C.UTF-8",
            }
            made.append(Newcomer(home, folder / "wheels", words))
        yield made
