"""Every setting of every service, with its default and what its own docstring says: for whoever lists or sets one."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from pydantic import SecretStr, ValidationError

from skrei_embedded.environment import SERVICES
from skrei_kit.settings import Settings

NAMES = {
    "skrei_orchestrator_api": "api",
    "skrei_scheduler": "scheduler",
    "skrei_publisher": "publisher",
    "skrei_compute_agent": "node",
}


@dataclass(slots=True)
class Setting:
    """One setting: whose it is, what it is unless it is said, and what it means."""

    name: str
    default: str
    description: str
    secret: bool
    services: list[str] = field(default_factory=list)
    models: list[type[Settings]] = field(default_factory=list)

    def wrong(self, value: str) -> str:
        """Return what is wrong with a value; empty where every service of the setting takes it."""
        for model in self.models:
            try:
                model.model_validate({self.name: value})
            except ValidationError as error:
                told = [
                    item["msg"].removeprefix("Value error, ")
                    for item in error.errors()
                    if item["loc"][:1] == (self.name,)
                ]
                if told:
                    return told[0]
        return ""


def settings() -> list[Setting]:
    """Return every setting, by name; what several services share is told once."""
    found: dict[str, Setting] = {}
    for service in SERVICES:
        for model in _models(service):
            told = {name: text for each in reversed(model.__mro__) for name, text in _docstrings(each).items()}
            for name, info in model.model_fields.items():
                default = info.get_default(call_default_factory=True) if not info.is_required() else ""
                secret = info.annotation is SecretStr
                one = found.setdefault(
                    name, Setting(name, _text(default), info.description or told.get(name, ""), secret)
                )
                one.services += [NAMES[service]] if NAMES[service] not in one.services else []
                one.models.append(model)
    return [found[name] for name in sorted(found)]


def _models(service: str) -> Iterator[type[Settings]]:
    module = import_module(f"{service}.settings")
    for item in vars(module).values():
        if isinstance(item, type) and issubclass(item, Settings) and item.__module__ == module.__name__:
            yield item


def _docstrings(model: type) -> dict[str, str]:
    """Return the text below each field of a model's own, in one line."""
    if not issubclass(model, Settings):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef), "a model is a class"
    found = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            said = after.value
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                found[before.target.id] = " ".join(said.value.split())
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)
