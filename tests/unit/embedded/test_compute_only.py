from pathlib import Path

import pytest

from skrei_embedded.stack import Stack, StackOptions


@pytest.mark.parametrize("orchestrator", [True, False])
def test_only_a_control_plane_names_an_api_of_this_machine(tmp_path: Path, orchestrator: bool) -> None:
    stack = Stack(StackOptions(orchestrator=orchestrator, data_dir=tmp_path))
    stack.place.open()
    stack._telling.addresses = stack._whereabouts.addresses("", "nats://127.0.0.1:1")
    stack._telling.write()
    told = stack.place.read()
    stack.place.let_go()
    stack._spawner.close()
    assert told is not None
    assert bool(told.api_url) is orchestrator
    assert bool(told.publisher_url) is orchestrator


def test_options_reach_the_process_that_serves_unchanged() -> None:
    options = StackOptions(
        data_dir=Path("/data"), port=0, allow_local=("/texts", "/out:rw"), config=Path("skrei.yaml"), log_level="debug"
    )
    assert StackOptions.from_json(options.to_json()) == options
    assert StackOptions.from_json(StackOptions().to_json()) == StackOptions()
