"""The parameters of the engines and storages that come with Skrei, checked where a job is sent.

Nodes check theirs again, and know more; what is told here costs no placement. Other types are their plugins' own.
"""

from collections.abc import Mapping

from skrei_domain.data_sets import data_input_params
from skrei_domain.docker_params import docker_problems
from skrei_domain.job_blobs import decode_data_url
from skrei_domain.job_depends import task_input_params
from skrei_domain.job_reading import Reading
from skrei_domain.job_reading import given as _given

Params = Mapping[str, object]

_CREATE_AS = ("dir", "file", "nocreate")


def engine_params(reading: Reading, kind: str, params: Params, path: str) -> None:
    """Note every wrong parameter of an engine of the type `kind`."""
    match kind.lower():
        case "wasm":
            _wasm(reading, params, path)
        case "docker" | "kubernetes":
            found = docker_problems(params)
            reading.problems += [problem._replace(path=f"{path}.{problem.path}") for problem in found]


def _wasm(reading: Reading, params: Params, path: str) -> None:
    module = _given(params, "EntryModule")
    if module is None:
        reading.missing(f"{path}.EntryModule", "the target of the input that brings the module")
    elif not (isinstance(module, str) and module):
        reading.wrong(f"{path}.EntryModule", module, "the target of the input that brings the module")
    entrypoint = _given(params, "Entrypoint")
    if not isinstance(entrypoint, str | None):
        reading.wrong(f"{path}.Entrypoint", entrypoint, "the name of an exported function")
    for name, allowed in (("Parameters", "a list of texts"), ("ImportModules", "a list of targets of inputs")):
        value = _given(params, name)
        if value is not None and not (isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)):
            reading.wrong(f"{path}.{name}", value, allowed)


def storage_params(reading: Reading, kind: str, params: Params, path: str) -> None:
    """Note every wrong parameter of a storage of the type `kind`."""
    match kind.lower():
        case "inline":
            _inline(reading, params, path)
        case "local" | "localdirectory":
            _local(reading, params, path)
        case "task":
            task_input_params(reading, params, path)
        case "data":
            data_input_params(reading, params, path)


def _inline(reading: Reading, params: Params, path: str) -> None:
    # Every spelling of the key is looked at: each one's data is cut out of the spec.
    for url in [value for key, value in params.items() if key.lower() == "url"] or [None]:
        if not isinstance(url, str):
            reading.wrong(f"{path}.URL", url, "a data URL")
            continue
        try:
            decode_data_url(url)
        except ValueError as error:
            reading.wrong(f"{path}.URL", url, str(error))


def _local(reading: Reading, params: Params, path: str) -> None:
    source = _given(params, "SourcePath")
    if source is None:
        reading.missing(f"{path}.SourcePath", "an absolute path on the node")
    elif not (isinstance(source, str) and source.startswith("/")):
        reading.wrong(f"{path}.SourcePath", source, "an absolute path on the node")
    writes = _given(params, "ReadWrite")
    if not isinstance(writes, bool | None):
        reading.wrong(f"{path}.ReadWrite", writes, "true or false")
    create = _given(params, "CreateAs")
    if create not in (None, "") and not (isinstance(create, str) and create.lower() in _CREATE_AS):
        reading.wrong(f"{path}.CreateAs", create, "dir or file or noCreate")
