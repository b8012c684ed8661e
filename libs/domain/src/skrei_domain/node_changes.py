"""What differs between two of a node's own words, in sentences: the events of a node."""

from collections.abc import Sequence

from skrei_domain.node import DATA, PATH, SERVICE, Absent, Gpu, NodeInfo, Plugin


def changes(old: NodeInfo, new: NodeInfo) -> list[str]:
    """Return what differs, one short sentence each; of no difference, none.

    Engines, storages, publishers, data sets, services and GPUs come by name, with versions and reasons; anything else
    by its field's name.
    """
    reasons = {(each.kind, each.name): each.reason for each in new.absent}
    told = [
        *_plugins("engine", old.engines, new.engines, reasons),
        *_plugins("storage", old.storages, new.storages, reasons),
        *_plugins("publisher", old.publishers, new.publishers, reasons),
        *_paths(old, new),
        *_data(old, new, reasons),
        *_services(old, new, reasons),
        *_gpus(old.gpus, new.gpus),
        *_absent(old, new),
    ]
    gpus_moved = old.gpus != new.gpus
    told += [
        f"its {name} is now {getattr(new, name)}"
        for name in ("name", "version", "os", "arch")
        if getattr(old, name) != getattr(new, name)
    ]
    if old.capacity.model_copy(update={"gpu": new.capacity.gpu}) != new.capacity:
        told.append("its capacity has changed")
    if old.labels != new.labels and not gpus_moved:  # labels of GPUs say the same again
        told.append("its labels have changed")
    if gpus_moved and {gpu.key for gpu in old.gpus} == {gpu.key for gpu in new.gpus}:
        told.append("its GPUs tell other names or amounts")
    return told


def _plugins(kind: str, old: Sequence[Plugin], new: Sequence[Plugin], reasons: dict[tuple[str, str], str]) -> list[str]:
    was, now = {plugin.name: plugin for plugin in old}, {plugin.name: plugin for plugin in new}
    told = []
    for name in sorted({*was, *now}):
        if name not in now:
            told.append(f"{kind} {name} is gone{_because(reasons.get((kind, name), ''))}")
        elif name not in was:
            told.append(f"{kind} {name} is here{_version(now[name])}{_because(now[name].note)}")
        elif was[name].version != now[name].version:
            told.append(f"{kind} {name} is another version{_version(now[name])}")
        elif was[name].note != now[name].note:
            told.append(f"{kind} {name}{_because(now[name].note or 'nothing of it is missing any more')}")
    return told


def _paths(old: NodeInfo, new: NodeInfo) -> list[str]:
    back = [f"path {path} is here" for path in sorted(old.missing_paths - new.missing_paths)]
    return [*back, *(f"path {path} is gone" for path in sorted(new.missing_paths - old.missing_paths))]


def _data(old: NodeInfo, new: NodeInfo, reasons: dict[tuple[str, str], str]) -> list[str]:
    """Tell which data sets have come and gone, and which may be written; how large they are is no event."""
    was, now = {each.name: each for each in old.data}, {each.name: each for each in new.data}
    told = []
    for name in sorted({*was, *now}):
        if name not in now:
            told.append(f"data set {name} is gone{_because(reasons.get((DATA, name), ''))}")
        elif name not in was:
            told.append(f"data set {name} is here{', also to be written' if now[name].read_write else ''}")
        elif was[name].read_write != now[name].read_write:
            told.append(f"data set {name} may {'also be written' if now[name].read_write else 'only be read'} now")
    return told


def _services(old: NodeInfo, new: NodeInfo, reasons: dict[tuple[str, str], str]) -> list[str]:
    was, now = {each.name for each in old.services}, {each.name for each in new.services}
    gone = [f"service {name} is gone{_because(reasons.get((SERVICE, name), ''))}" for name in sorted(was - now)]
    return [*gone, *(f"service {name} is here" for name in sorted(now - was))]


def _gpus(old: Sequence[Gpu], new: Sequence[Gpu]) -> list[str]:
    was, now = {gpu.key: gpu for gpu in old}, {gpu.key: gpu for gpu in new}
    gone = [f"GPU {gpu.index} is gone ({gpu.name})" for key, gpu in was.items() if key not in now]
    return gone + [f"GPU {gpu.index} is here ({gpu.name})" for key, gpu in now.items() if key not in was]


def _absent(old: NodeInfo, new: NodeInfo) -> list[str]:
    """Tell of what is not usable for another reason than before; what has just gone is told with its reason above."""
    before = {(each.kind, each.name): each.reason for each in old.absent}
    had = {
        *(("engine", plugin.name) for plugin in old.engines),
        *(("storage", plugin.name) for plugin in old.storages),
        *((DATA, each.name) for each in old.data),
        *((SERVICE, each.name) for each in old.services),
    }
    return [
        f"{each.kind} {each.name} cannot be used: {each.reason}"
        for each in new.absent
        if each.kind != PATH and before.get(_key(each)) != each.reason and _key(each) not in had
    ]


def _key(each: Absent) -> tuple[str, str]:
    return each.kind, each.name


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _version(plugin: Plugin) -> str:
    return f" ({plugin.version})" if plugin.version else ""
