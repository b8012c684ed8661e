"""What others have written reaches a terminal as text: nothing in it speaks to it, or turns what is read around."""

import io
import json
import sys

import pytest
import yaml

from skrei.cli import render
from skrei.cli.shape import Shape
from skrei.cli.texts import clean, harmless

CONTROLS = "\x7f\x80\x9b31mred\x9d0;title\x9c"
TURNED = "\u202egnp.exe\u202c \u2066x\u2069"
FOUND = {"Name": CONTROLS, "Labels": {TURNED: "שלום"}}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(shape: Shape, monkeypatch: pytest.MonkeyPatch, out: io.StringIO) -> str:
    monkeypatch.setattr(sys, "stdout", out)
    render.document(FOUND, shape)
    return out.getvalue()


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_a_terminal_gets_them_escaped_and_the_document_means_the_same(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(Shape(output=output), monkeypatch, Terminal())
    assert not [letter for letter in text if "\x7f" <= letter <= "\x9f" or letter in "\u202e\u202c\u2066\u2069"]
    read = json.loads(text) if output == "json" else yaml.safe_load(text)
    assert read == {"apiVersion": "skrei/v1", **FOUND}


def test_a_program_gets_json_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(Shape(output="json"), monkeypatch, io.StringIO())
    assert CONTROLS[1:] in text
    assert TURNED in text


def test_names_and_output_turn_nothing_around() -> None:
    assert clean(f"a{TURNED}") == "a\ufffdgnp.exe\ufffd \ufffdx\ufffd"
    assert harmless("\u202eabc") == "\\u202eabc"
    assert clean("שלום") == harmless("שלום") == "שלום"
