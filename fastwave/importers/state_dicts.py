"""Which tensors of a torch file are the model: its state dict, averaged where it was averaged, or a whole module."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from .notation import plain, shown
from .notes import Notes
from .pickles import Stub
from .torch_files import StoredTensor, walk

_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
_OPTIMISER = re.compile(r"optim|sched|adam", flags=re.IGNORECASE)
_AVERAGED = re.compile(r"(^|[._-])(ema|averaged?|avg|shadow|swa)", flags=re.IGNORECASE)
_HYPERPARAMETERS = ("hparams", "hyper_parameters", "hyperparameters", "args", "config", "conf", "model_config", "opt")
_MOST_MODULES, _MOST_TENSORS, _DEEPEST = 20_000, 100_000, 32
Places = tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]]


def find(value: Any, name: str, notes: Notes) -> Places:
    """The value of a torch file -> (tensors of the model, other entries, hyper-parameters that stand in the file)."""
    candidates = _candidates(value)
    most = max((len(tensors) for _, tensors, _ in candidates), default=0)
    if not most:
        raise CheckpointError(f"{name} holds no tensors by name: it is no checkpoint of a model.")
    averaged = [each for each in candidates if _AVERAGED.search(each[0]) and len(each[1]) == most]
    keys, stored, module = (averaged or [each for each in candidates if len(each[1]) == most])[0]
    if averaged:
        notes.recognised(f"averaged weights, from {keys!r} in the file")
    extras = {shown(key): plain(inner, 1) for key, inner in value.items()} if isinstance(value, dict) else {}
    values = _hyperparameters(value)
    if module is not None:
        extras["class"] = module.name
        notes.recognised(f"a whole pickled module, {module.name}, of which only the numbers were read")
        attributes = {key: inner for key, inner in module.state.items() if isinstance(key, str) and key[:1] != "_"}
        values |= plain(attributes)
    return _without_prefixes({key: each.tensor() for key, each in stored.items()}, notes), extras, values


def _candidates(value: Any) -> list[tuple[str, dict[str, StoredTensor], Stub | None]]:
    """(the keys that lead to it, its tensors, the module that it is) of each thing that may be a model."""
    found: list[tuple[str, dict[str, StoredTensor], Stub | None]] = []
    for keys, each in walk(value):
        path = ".".join(shown(key) for key in keys)
        if _OPTIMISER.search(path):
            continue
        if isinstance(each, dict):
            tensors = {key: inner for key, inner in each.items() if isinstance(inner, StoredTensor)}
            if tensors and len(tensors) <= _MOST_TENSORS and all(isinstance(key, str) for key in tensors):
                found.append((path, tensors, None))
        elif _is_module(each):
            found.append((path, _tensors_of(each), each))
    return found


def _is_module(value: Any) -> bool:
    return isinstance(value, Stub) and isinstance(value.state, dict) and isinstance(value.state.get("_modules"), dict)


def _tensors_of(module: Stub) -> dict[str, StoredTensor]:
    """The state dict of a pickled module: parameters and buffers, of it and of the modules inside."""
    tensors: dict[str, StoredTensor] = {}
    seen: set[int] = set()
    waiting = [("", module)]
    while waiting:
        prefix, each = waiting.pop()
        if id(each) in seen or len(seen) > _MOST_MODULES or prefix.count(".") > _DEEPEST:
            raise CheckpointError(f"the module {module.name[:80]} contains itself, or far too many modules.")
        seen.add(id(each))
        for group in ("_parameters", "_buffers"):
            owned = each.state.get(group)
            for key, inner in owned.items() if isinstance(owned, dict) else ():
                if isinstance(key, str) and isinstance(inner, StoredTensor):
                    tensors[prefix + key] = inner
        modules = {shown(key): inner for key, inner in each.state["_modules"].items() if _is_module(inner)}
        waiting += [(f"{prefix}{key}.", inner) for key, inner in reversed(modules.items())]
    return tensors


def _hyperparameters(value: Any) -> dict[str, Any]:
    """What the usual entries of a checkpoint say, or the entries of an argparse.Namespace."""
    values: dict[str, Any] = {}
    for key in _HYPERPARAMETERS if isinstance(value, dict) else ():
        inner = plain(value.get(key))
        values |= inner if isinstance(inner, dict) else {}
    return values


def _without_prefixes(tensors: dict[str, Tensor], notes: Notes) -> dict[str, Tensor]:
    """What wrappers put before every name goes."""
    for _ in range(4):
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
                notes.recognised(f"names without the {prefix!r} that a wrapper put before them")
    return tensors
