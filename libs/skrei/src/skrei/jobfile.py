"""Job files: YAML or JSON from disk or standard input, checked as a file, with what it names on this machine resolved.

What the file may contain is the API's business; here are only the checks that need the file itself: keys that a
person must not set, paths relative to the file, and files to be carried inline.
"""

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skrei.errors import Rejected
from skrei.inline import data_url
from skrei.views import Document

MOST_FILE_BYTES = 10 * 1024 * 1024
"""The API takes no larger spec (413)."""
ALLOWED = (
    "Name",
    "Namespace",
    "Type",
    "Priority",
    "Count",
    "Constraints",
    "Meta",
    "Labels",
    "Tasks",
    "Offline",
    "FailOn",
    "Update",
    "Retention",
)
RESERVED = ("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime")
_APART = ("{task}", "{executionID}")
"""Words of a key that tell the tasks of a job apart."""
LOCAL_TYPES = frozenset({"local", "localdirectory"})


def load(path: Path) -> Document:
    """Return the job in a file, ready to be submitted. Raises Rejected with every problem of the file at once."""
    return parse(read(path), name=str(path), folder=path.absolute().parent)


def read(path: Path) -> str:
    """Return the text of a job file. Raises Rejected for one that is too large, no text, or not there."""
    try:
        size = path.stat().st_size
        if size > MOST_FILE_BYTES:
            raise Rejected(f"{path} has {size} bytes; a job file has at most {MOST_FILE_BYTES}.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}.", hint="Name a YAML or JSON file.") from error
    except UnicodeDecodeError as error:
        raise Rejected(f"{path} is not text in UTF-8.", hint="Name a YAML or JSON file.") from error


def parse(text: str, *, name: str, folder: Path) -> Document:
    """Return the job in `text`; relative paths in it start at `folder`."""
    job = _object(text, name)
    if problems := _key_problems(job):
        raise not_a_job(name, problems)
    return resolve_paths(job, folder)


def examine(text: str, *, name: str, folder: Path) -> tuple[Document, list[str]]:
    """Return the job in `text` and every problem of the file; a file that cannot be carried is left out as empty.

    Raises Rejected only where there is no job to look at.
    """
    job = _object(text, name)
    problems = _key_problems(job)
    known = {key: value for key, value in job.items() if str(key).lower() in {each.lower() for each in ALLOWED}}
    return resolve_paths(known, folder, problems), problems


def not_a_job(name: str, problems: list[str]) -> Rejected:
    """Return the error that tells all problems of a file at once."""
    return Rejected(
        f"{name} is not a job:\n" + "\n".join(f"  {problem}" for problem in problems),
        hint="Correct the file; `skrei job validate FILE` reads it without an API.",
    )


def resolve_paths(job: Document, folder: Path, problems: list[str] | None = None) -> Document:
    """Return the job with local paths made absolute and inline files carried as data URLs.

    A file that cannot be carried is refused; with `problems`, it is noted there and carried as empty.
    """
    resolved = dict(job)
    tasks_key = _find(job, "Tasks")
    tasks = job.get(tasks_key) if tasks_key else None
    if tasks_key and isinstance(tasks, list):
        resolved[tasks_key] = [_resolve_task(task, folder, problems) for task in tasks]
    return resolved


def renamed(job: Document, name: str) -> Document:
    """Return the job under another name; an empty one changes nothing."""
    return job | {_find(job, "Name") or "Name": name} if name else job


def published(job: Document, publisher: Document) -> Document:
    """Return the job with all that each of its tasks leaves going there, wherever its file says, also of its paths.

    Raises Rejected for one place in S3 that several tasks would write, each in the other's place.
    """
    key = _find(job, "Tasks")
    tasks = job.get(key) if key else None
    if not key or not isinstance(tasks, list):
        return job
    place = str(publisher["Params"].get("Key", ""))
    if publisher["Type"] == "s3" and len(tasks) > 1 and not any(word in place for word in _APART):
        raise Rejected(
            f"--publisher {place or 's3'}: {len(tasks)} tasks would write one key, each in the other's place.",
            hint="Put {task} or {executionID} into it: s3://BUCKET/results/{jobID}/{task}",
        )
    return job | {key: [_leaving(task, publisher) if isinstance(task, dict) else task for task in tasks]}


def _leaving(task: Document, publisher: Document) -> Document:
    changed = task | {_find(task, "Publisher") or "Publisher": publisher}
    key = _find(task, "ResultPaths")
    if key and isinstance(task[key], list):
        changed[key] = [_without(each, "Publisher") if isinstance(each, dict) else each for each in task[key]]
    return changed


def _without(entry: Document, name: str) -> Document:
    return {key: value for key, value in entry.items() if key != _find(entry, name)}


def _resolve_task(task: Any, folder: Path, problems: list[str] | None) -> Any:
    key = _find(task, "InputSources") if isinstance(task, dict) else None
    if not key or not isinstance(task[key], list):
        return task
    return task | {key: [_resolve_input(source, folder, problems) for source in task[key]]}


def _resolve_input(entry: Any, folder: Path, problems: list[str] | None) -> Any:
    key = _find(entry, "Source") if isinstance(entry, dict) else None
    source = entry.get(key) if key else None
    if not isinstance(source, dict):
        return entry
    kind = str(source.get(_find(source, "Type") or "", "")).lower()
    params_key = _find(source, "Params")
    params = source.get(params_key) if params_key else None
    if not isinstance(params, dict):
        return entry
    changed = params
    if kind in LOCAL_TYPES and (path_key := _find(params, "SourcePath")):
        changed = params | {path_key: str(_absolute(str(params[path_key]), folder))}
    elif kind == "inline" and (file_key := _find(params, "File")):
        rest = {name: value for name, value in params.items() if name != file_key}
        changed = rest | {"URL": _carried(_absolute(str(params[file_key]), folder), problems)}
    return entry | {key: source | {params_key: changed}}


def _carried(path: Path, problems: list[str] | None) -> str:
    try:
        return data_url(path)
    except Rejected as error:
        if problems is None:
            raise
        problems.append(str(error))
        return "data:,"


def _absolute(path: str, folder: Path) -> Path:
    """Return the absolute, lexically normal path; links stay as they are, since the node judges the path as written."""
    return Path(os.path.normpath(folder / Path(path).expanduser()))


def _object(text: str, name: str) -> Document:
    document = _json(text, name) if text.lstrip().startswith("{") else _yaml(text, name)
    if not isinstance(document, dict):
        what = "is empty" if not text.strip() else "holds no job: a job is a mapping of keys"
        raise Rejected(f"{name} {what}.", hint="`skrei job init FILE` writes one to start from.")
    wrapped = _find(document, "Job")
    if wrapped and len(document) == 1 and isinstance(document[wrapped], dict):
        inner: Document = document[wrapped]
        return inner
    return document


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _yaml(text, name)  # flow-style YAML begins with a brace too


def _yaml(text: str, name: str) -> Any:
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_surprises(node, set())
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        told = ", ".join(text for text in (error.context, error.problem) if text)
        raise Rejected(
            f"{name} is not YAML{where}: {told}.", hint="Look at the indentation and the quotes there and above."
        ) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Rejected(f"{name} is not YAML: {error}.") from error


def _refuse_surprises(node: Any, seen: set[int]) -> None:
    """Refuse what YAML lets pass silently: a key twice, and aliases (a short file of them grows without bound)."""
    import yaml

    if isinstance(node, yaml.ScalarNode) or node is None:
        return
    if id(node) in seen:
        raise yaml.MarkedYAMLError(problem="aliases are not read here", problem_mark=node.start_mark)
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_surprises(item, seen)
        return
    keys: set[str] = set()
    for key, value in node.value:
        if str(key.value) in keys:
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
        keys.add(str(key.value))
        _refuse_surprises(value, seen)


def _key_problems(job: Mapping[Any, Any]) -> list[str]:
    allowed = {name.lower() for name in ALLOWED}
    reserved = {name.lower() for name in RESERVED}
    problems = []
    for key in job:
        lowered = str(key).lower()
        if lowered in reserved:
            problems.append(f"field: '{key}' in 'Job' is not allowed")
        elif lowered not in allowed:
            near = difflib.get_close_matches(lowered, sorted(allowed), n=1)
            named = next((f" (did you mean {name}?)" for name in ALLOWED if near and name.lower() == near[0]), "")
            problems.append(f"unknown field: '{key}' in 'Job'{named}")
    return problems


def _find(document: Mapping[Any, Any], name: str) -> str | None:
    """Return the key that is `name` whatever its case, as every reader of job specs does."""
    return next((key for key in document if isinstance(key, str) and key.lower() == name.lower()), None)
