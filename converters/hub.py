"""A folder as Hugging Face's Hub has models, `model.safetensors` with `config.json` and a model card, <-> a Checkpoint.

Folders need nothing of Hugging Face's. What is on the Hub is fetched, and sent there, by its ModelHubMixin.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from converters import words
from converters._version import __version__
from converters.cascade import Cascade
from converters.checkpoint import Checkpoint, Source
from converters.conversion import write
from converters.errors import CheckpointError, DeepPoseError, printable, reason_of, told_as_checkpoints
from converters.families.joints import named
from converters.files import atomic, json_of, made, refuse_targets, told_of
from converters.folders import new_folder
from converters.reading import read

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
#: What `config.json` calls our networks.
MODEL_TYPE = "deeppose-port"
INSTALL = "pip install 'deeppose-port[hub]'"
_LARGEST_CONFIG = 8 << 20
#: What may be an id on the Hub, and not a path alone.
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class Fetching(TypedDict, total=False):
    """How a model is fetched from the Hub: as for `huggingface_hub.hf_hub_download`."""

    revision: str | None
    token: str | bool | None
    cache_dir: str | os.PathLike[str] | None
    force_download: bool
    local_files_only: bool


def read_pretrained(source: str | os.PathLike[str], fetching: Fetching | None = None) -> Checkpoint | Cascade:
    """Reads a folder as `write_pretrained` writes it, or one of the Hub's by its id.

    Args:
        source: The folder, or `owner/name`.
        fetching: How it is fetched from the Hub.

    Raises:
        CheckpointError: There is none, it has no safetensors, or its config is another network's.
    """
    folder = Path(source)
    if folder.is_dir():
        return _read_folder(folder)
    if folder.exists():
        raise CheckpointError(folder, "this is a file, and a folder is asked for", "deeppose_port.load reads files")
    name = os.fspath(source)
    if not _ID.fullmatch(name):
        raise CheckpointError(name, "there is no such folder")
    try:
        found = _on_hub().from_pretrained(name, **(fetching or {}))
    except DeepPoseError:
        raise
    except Exception as error:
        problem = f"there is no such folder, and it cannot be had from the Hub: {reason_of(error)}"
        raise CheckpointError(name, problem, "is the id right, this machine online, and the token good?") from error
    checkpoint: Checkpoint | Cascade = found.checkpoint
    return checkpoint


def write_pretrained(checkpoint: Checkpoint | Cascade, folder: str | os.PathLike[str], *, force: bool = False) -> None:
    """Writes `model.safetensors`, `config.json` and a model card into a folder; a card that is there stays.

    The state of an optimizer is not among them, and of the paths that a checkpoint knows nothing but the files' names.

    Args:
        checkpoint: What is written.
        folder: Where; it is made if need be.
        force: Whether files that exist may be replaced.

    Raises:
        CheckpointError: A file exists or cannot be written.
        DeepPoseError: There is a file in place of the folder.
    """
    checkpoint = _as_read(checkpoint)
    text = json.dumps(config_of(checkpoint), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    with told_of(Path(folder)), made(target := new_folder(folder)):
        refuse_targets([target / WEIGHTS, target / CONFIG], force, instead="another folder keeps it")
        with atomic(target / CONFIG, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8")
            write(checkpoint, target / WEIGHTS, force=force)
        if not (target / CARD).exists():
            with atomic(target / CARD, force=False) as temporary:
                temporary.write_text(card_of(checkpoint), encoding="utf-8")


def push(checkpoint: Checkpoint | Cascade, repo_id: str, **how: Any) -> str:
    """Sends a checkpoint to the Hub; returns where it is.

    Args:
        checkpoint: The checkpoint.
        repo_id: `owner/name`.
        **how: As for `huggingface_hub.ModelHubMixin.push_to_hub`: `private`, `token`, `branch` and so on.

    Raises:
        DeepPoseError: huggingface_hub is not installed, or the Hub refuses it.
    """
    model = _on_hub()(checkpoint)
    try:
        return str(model.push_to_hub(repo_id, **how))
    except DeepPoseError:
        raise
    except Exception as error:
        raise DeepPoseError(f"it cannot be sent to the Hub as {repo_id}: {reason_of(error)}") from error


def config_of(checkpoint: Checkpoint | Cascade) -> dict[str, object]:
    """Returns what `config.json` says: what the network is and how its inputs are made."""
    kept = ("architecture", "preprocessing", "writer", "stages", "face")
    said = {name: _still(value) for name, value in checkpoint.metadata().items() if name in kept}
    return {"model_type": MODEL_TYPE, "deeppose_port": __version__, "joints": checkpoint.joints, **said}


def card_of(checkpoint: Checkpoint | Cascade) -> str:
    """Returns a model card: what is known of a checkpoint, and how it is used."""
    cascade = isinstance(checkpoint, Cascade)
    facts = words.facts_of_cascade(checkpoint) if isinstance(checkpoint, Cascade) else words.facts_of(checkpoint)
    source = checkpoint.source
    origin = Source.from_dict(source.origin) if source.origin else source
    facts |= {"converted from": f"{origin.path or 'memory'} ({origin.format or 'no file'})"}
    facts |= {"its sha256": origin.sha256} if origin.sha256 else {}
    facts["NaN and Inf"] = words.repairs(checkpoint.repairs)
    rows = "\n".join(f"| {_cell(name)} | {_cell(told)} |" for name, told in facts.items())
    kind = "CascadePose" if cascade else "Pose"
    module = "deeppose_port.cascade" if cascade else "deeppose_port"
    return f"""---
library_name: deeppose-port
pipeline_tag: keypoint-detection
tags:
- deeppose
- human-pose-estimation
- model_hub_mixin
---

# DeepPose, {checkpoint.joints} joints

A network that answers a person's joints, in the format of deeppose-port {__version__}.

| | |
|---|---|
{rows}

```python
from {module} import {kind}

pose = {kind}.from_pretrained("FOLDER_OR_ID")
points = pose.predict("photo.jpg", box=(x, y, width, height))  # (joints, 2), in the picture's own pixels
```

What it was trained on, under which terms it may be used, and how well it does is not in its file.
"""


def _cell(text: str) -> str:
    return re.sub(r"([\\`|<>&*_\[\]])", r"\\\1", printable(text))


def _read_folder(folder: Path) -> Checkpoint | Cascade:
    """Reads a folder, and sees that its config is of its weights."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        others = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".npz", ".h5"))
        advice = f"it has {others[0]}: deeppose_port.load reads such files" if others else "is it a whole copy?"
        raise CheckpointError(folder, f"no {WEIGHTS} in this folder", advice)
    config = folder / CONFIG
    said = _config(config) if config.exists() else None
    checkpoint = read(weights, state=False)
    if said is not None:
        different = _difference(said, json.loads(json.dumps(config_of(checkpoint))))
        if different is not None:
            problem = f"it says {different}, of another network than {WEIGHTS} beside it is"
            raise CheckpointError(config, problem, "take both of one save, or delete it")
    return checkpoint


def _config(path: Path) -> dict[str, object]:
    """Reads a `config.json`.

    Raises:
        CheckpointError: It is damaged, or another program's.
    """
    with told_as_checkpoints():
        said = json_of(path, largest=_LARGEST_CONFIG)
    kind = said.get("model_type") if isinstance(said, dict) else None
    if not isinstance(said, dict) or kind != MODEL_TYPE:
        other = f"its model_type is {str(kind)[:100]!r}" if kind is not None else "it has no model_type"
        raise CheckpointError(path, f"this is the config of another program's network: {other}, not {MODEL_TYPE!r}")
    return said


def _still(value: object) -> object:
    """Returns what a network is, without where it came from and how far it was trained."""
    if isinstance(value, Mapping):
        return {name: _still(one) for name, one in value.items() if name not in ("source", "progress", "repairs")}
    return [_still(one) for one in value] if isinstance(value, list) else value


def _difference(said: object, found: object, place: str = "") -> str | None:
    """Returns the first thing that a config says otherwise; it need not say all, as an older version's does not."""
    if isinstance(said, dict) and isinstance(found, dict):
        common = (key for key in found if key in said and (place or key != "deeppose_port"))
        inside = (_difference(said[key], found[key], f"{place}.{key}" if place else key) for key in common)
        return next((one for one in inside if one is not None), None)
    if isinstance(said, list) and isinstance(found, list) and len(said) == len(found):
        pairs = enumerate(zip(said, found, strict=True))
        inside = (_difference(own, other, f"{place}[{i}]") for i, (own, other) in pairs)
        return next((one for one in inside if one is not None), None)
    return None if said == found else f"{place} is {json.dumps(said)[:60]}, not {json.dumps(found)[:60]}"


def _as_read(checkpoint: Checkpoint | Cascade) -> Checkpoint | Cascade:
    """Returns the same, of whose files only the names are known: others need not know the folders of a machine."""
    if isinstance(checkpoint, Cascade):
        stages = (replace(one, networks=tuple(map(_told, one.networks))) for one in checkpoint.stages)
        return replace(checkpoint, stages=tuple(stages))
    return _told(checkpoint)


def _told(checkpoint: Checkpoint) -> Checkpoint:
    source = checkpoint.source
    origin = None if source.origin is None else {**source.origin, **_names(source.origin)}
    return checkpoint.replace(
        optimizer=None,
        source=replace(source, origin=origin, **_names(source.as_dict())),
        # As it is read again: the config says what the weights are read as.
        preprocessing=named(checkpoint.preprocessing, checkpoint.joints),
    )


def _names(source: Mapping[str, object]) -> dict[str, Any]:
    paths = {key: source.get(key) for key in ("path", "state_path")}
    return {key: re.split(r"[/\\]", path)[-1] for key, path in paths.items() if isinstance(path, str)}


def _on_hub() -> Any:
    """Returns the class by which Hugging Face's library fetches and sends a checkpoint.

    Raises:
        DeepPoseError: It is not installed.
    """
    try:
        from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
    except ImportError as error:
        raise DeepPoseError("what is on the Hub needs huggingface_hub", advice=INSTALL) from error

    class Pretrained(ModelHubMixin):
        """A checkpoint, as the Hub's mixin takes it."""

        def __init__(self, checkpoint: Checkpoint | Cascade) -> None:
            self.checkpoint = checkpoint

        def _save_pretrained(self, save_directory: Path) -> None:
            write_pretrained(self.checkpoint, save_directory, force=True)

        @classmethod
        def _from_pretrained(cls, *, model_id: str, **fetching: Any) -> Pretrained:
            how = {name: fetching[name] for name in Fetching.__annotations__ if name in fetching}
            return cls(_read_folder(Path(hf_hub_download(model_id, WEIGHTS, **how)).parent))

        def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
            return ModelCard(card_of(self.checkpoint))

    return Pretrained
