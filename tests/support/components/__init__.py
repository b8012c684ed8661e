"""A WASI preview 2 component for tests; README.md beside this file says where it comes from."""

from pathlib import Path

from skrei_plugin_api.testing import Behaviour

PROBE = Path(__file__).parent / "probe.wasm"


def words(behaviour: Behaviour) -> list[str]:
    """The arguments that make PROBE behave so."""
    found: list[str] = []
    if behaviour.say:
        found += ["say", behaviour.say]
    if behaviour.say_error:
        found += ["err", behaviour.say_error]
    if behaviour.print_env:
        found.append("env")
    if behaviour.print_file:
        found += ["cat", behaviour.print_file]
    for path, text in behaviour.write.items():
        found += ["write", f"/{path}", text]
    if behaviour.forever:
        found.append("loop")
    if behaviour.trap:
        found.append("trap")
    return [*found, "exit", str(behaviour.exit_code)] if behaviour.exit_code else found
