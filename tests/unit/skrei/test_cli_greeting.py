from skrei.cli.greeting import lines

JOIN = "skrei serve --compute --join http://10.0.0.1:1234 --token secret"


def node(*engines: tuple[str, str], absent: tuple[tuple[str, str], ...] = ()) -> dict[str, object]:
    told = {
        "Engines": [{"Name": name, "Version": version, "Note": ""} for name, version in engines],
        "Absent": [{"Kind": "engine", "Name": name, "Reason": reason} for name, reason in absent],
    }
    return {"Info": {"ComputeNodeInfo": told}}


def test_the_greeting_is_six_lines_with_what_was_found_and_how_to_stop() -> None:
    told = lines("http://127.0.0.1:1234", "/data", node(("docker", "24.0"), ("wasm", "50.0")), JOIN)
    assert len(told) == 6
    assert told[0].endswith("skrei docker run ubuntu echo hello")
    assert told[1] == "  API      http://127.0.0.1:1234"
    assert told[3] == "  Engines  docker 24.0, wasm 50.0"
    assert told[4] == f"  Join     on another machine: {JOIN}"
    assert "skrei down" in told[5]


def test_a_stack_where_nobody_looks_for_it_is_told_with_its_address() -> None:
    told = lines("http://h:9", "/mine", node(("wasm", "50.0")), "", found=False)
    assert told[0].endswith("In another terminal: export SKREI_API_URL=http://h:9; skrei node list")
    alone = lines("", "/mine", {}, "", found=False)
    assert alone[0].endswith("In another terminal: skrei node list")


def test_an_engine_that_is_missing_is_named_with_its_reason_and_what_to_do() -> None:
    told = lines("http://h", "/data", node(("wasm", "50.0"), absent=(("docker", "no daemon answers"),)), "")
    assert "wasm 50.0 · no docker: no daemon answers; start it (`sudo systemctl start docker`)" in told[3]
    assert "--listen" in told[4]


def test_a_stack_without_a_node_has_no_engines() -> None:
    assert lines("http://h", "/data", {}, "")[3] == "  Engines  none on this machine"
