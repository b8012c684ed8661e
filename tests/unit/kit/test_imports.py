"""A package that is left out is missing only while it is, and one that is there stays."""

import json
import sys

import pytest

from skrei_kit.imports import without

UNUSED = "this"  # the Zen: nobody imports it


def test_a_package_is_missing_inside_and_there_again_outside() -> None:
    with without(UNUSED), pytest.raises(ImportError):
        __import__(UNUSED)
    assert UNUSED not in sys.modules


def test_what_is_loaded_already_is_not_taken_away() -> None:
    with without("json"):
        assert __import__("json") is json
    assert sys.modules["json"] is json
