"""An engine that comes and goes: a package as pip would install it, in a folder for PYTHONPATH.

It is there while the file `VISITOR_SIGN` is, hangs in its probe while that file holds `hang`, and says of each run
which GPUs it was given.
"""

from pathlib import Path

_CODE = """
import asyncio
import os
import time
from pathlib import Path

from skrei_plugin_api.engine import Engine, RunOutcome
from skrei_plugin_api.packing import pack_result, stream_head
from skrei_plugin_api.plugin import PLUGIN_API, PluginInfo

SIGN = Path(os.environ["VISITOR_SIGN"])


class Visitor(Engine):
    plugin_api = PLUGIN_API
    name = "visitor"
    version = "0.7"

    async def describe(self):
        if not SIGN.exists():
            return PluginInfo(available=False, reason=f"{SIGN.name} is not there")
        while SIGN.exists() and SIGN.read_text() == "hang":
            time.sleep(0.05)  # as a plugin does that knows nothing of loops
        return PluginInfo(available=True, version=self.version)

    def validate(self, params):
        return []

    async def run(self, request, events):
        started = time.monotonic()
        events.running()
        stdout, stderr = request.workdir / "stdout", request.workdir / "stderr"
        stdout.write_text("".join(f"{gpu.vendor} {gpu.index} {gpu.uuid}\\n" for gpu in request.gpus))
        stderr.touch()
        if request.params.get("Hold"):
            while not Path(request.params["Hold"]).exists():
                await asyncio.sleep(0.01)
        packed = pack_result(request.workdir, [], 0, inline_limit=request.inline_result_limit)
        return RunOutcome(0, None, started, time.monotonic(), stream_head(stdout), stream_head(stderr), packed)
"""


def install(folder: Path) -> dict[str, str]:
    """Put the package into `folder`; return the variables that an agent needs to find it."""
    told = folder / "visitor-0.7.dist-info"
    told.mkdir(parents=True)
    (folder / "visitor.py").write_text(_CODE.replace("\\n", "\\n"))
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: visitor\nVersion: 0.7\n")
    (told / "entry_points.txt").write_text("[skrei.engines]\nvisitor = visitor:Visitor\n")
    return {"PYTHONPATH": str(folder), "VISITOR_SIGN": str(folder / "sign")}


def comes(env: dict[str, str]) -> None:
    """Let the engine work from now on."""
    Path(env["VISITOR_SIGN"]).write_text("")


def hangs(env: dict[str, str]) -> None:
    """Let the engine's probe never answer again."""
    Path(env["VISITOR_SIGN"]).write_text("hang")


def goes(env: dict[str, str]) -> None:
    """Let the engine be away."""
    Path(env["VISITOR_SIGN"]).unlink(missing_ok=True)
