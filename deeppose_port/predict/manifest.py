"""The joints of the pictures of a list, however long: in parts, each of which is written whole, and never twice.

    manifest       a path or an address a line; paths are relative to where the program runs. Or the address of a
                   bucket's folder, whose pictures are listed
    OUT/manifest.json            what was asked for: another list or checkpoint is refused
    OUT/part-000000.jsonl        the first pictures, a line each (.parquet: a row each)

A run that was killed goes on with the parts that are not there. Several processes, those of torchrun or of Ray, share
the parts.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from converters.errors import DeepPoseError, reason_of
from converters.files import atomic, hash_file, json_of, refuse_no_file
from converters.folders import new_folder
from converters.progress import ProgressCallback
from converters.values import dataclass
from deeppose_port.cascade import CascadePose
from deeppose_port.data.ahead import Workers
from deeppose_port.data.arrays import batched
from deeppose_port.data.crop import Crop
from deeppose_port.data.pictures import MAX_PIXELS, encoded_size, picture_bytes
from deeppose_port.data.pixels import Window, decode_window
from deeppose_port.data.view import View
from deeppose_port.options import refuse_unknown
from deeppose_port.pose import Pose
from deeppose_port.predict.fetching import fetched, is_bucket, listed_in
from deeppose_port.predict.inputs import answers, joints_of, told_apart
from deeppose_port.predict.people import Found, People
from deeppose_port.predict.results import as_lists
from deeppose_port.predict.sources import PICTURE_SUFFIXES, checked_share, listed

#: Pictures of a part: what a run that is killed loses at most, in each process.
PART = 256
FORMATS = ("jsonl", "parquet")


@dataclass(frozen=True)
class Asked:
    """What is done with every picture of a list.

    Attributes:
        people: Who is in the pictures.
        format: One of `FORMATS`.
        fast_decode: Whether JPEGs are decoded at a reduced size, where what the network sees is at most half of it.
        allow_truncated: As for `read_picture`, as the next is.
        max_pixels: The most pixels that a picture may have.
    """

    people: People = field(default_factory=People)
    format: str = "jsonl"
    fast_decode: bool = False
    allow_truncated: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Part:
    """Some pictures of a list.

    Attributes:
        number: Its place, from 0.
        first: The number of its first line, from 1.
        names: The pictures, as their lines have them.
    """

    number: int
    first: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class ManifestPredictions:
    """What became of a list.

    Attributes:
        manifest: The list.
        folder: Where the parts are.
        pictures: How many pictures it has.
        done: How many of them this run has predicted; the others were there already, or are another process's.
        failures: How many of these cannot be read, or nothing tells who is in them.
        failures_before: How many of those that were there already, in this process's parts.
    """

    manifest: Path
    folder: Path
    pictures: int
    done: int
    failures: int
    failures_before: int = 0

    def as_dict(self) -> dict[str, object]:
        """Returns it as JSON-ready values."""
        return {
            "manifest": str(self.manifest),
            "folder": str(self.folder),
            "pictures": self.pictures,
            "done": self.done,
            "failures": self.failures,
            "failures_before": self.failures_before,
        }


def predict_manifest(
    load: Callable[[], Pose | CascadePose],
    manifest: str | os.PathLike[str],
    output: str | os.PathLike[str],
    asked: Asked | None = None,
    *,
    share: tuple[int, int] = (0, 1),
    ray: bool = False,
    progress: ProgressCallback | None = None,
) -> ManifestPredictions:
    """Predicts the pictures of a list, or goes on with it.

    Args:
        load: Makes the checkpoint ready; with Ray in each of its processes.
        manifest: The list; or the address of a bucket, whose pictures become a list in the folder.
        output: The folder of the parts.
        asked: What is done with every picture.
        share: Which of several processes this is: `(0, 2)` has every other part, from the first on.
        ray: Whether Ray's processes, on this or many machines that share the folder, do it: one a processor.
        progress: Called with the pictures done and all of them.

    Raises:
        DeepPoseError: There is no such list, it is empty, the folder holds the parts of another one, one of its parts
            is damaged, or what is asked for is not installed.
    """
    text, folder, asked = os.fspath(manifest), Path(output), asked or Asked()
    _refuse_format(asked.format)
    rank, size = checked_share(share)
    names = "".join(f"{name}\n" for name in _pictures_in(text)) if "://" in text else None
    if names is None:
        manifest = Path(text)
        refuse_no_file(manifest)
        digest, total = _measured(manifest)
    else:
        digest, total = hashlib.sha256(names.encode()).hexdigest(), names.count("\n")
        manifest = folder / f"list-{digest[:12]}.txt"
    if not total:
        raise DeepPoseError("no picture is in this list; it is a path or a URL a line", where=text)
    pose = load()
    told = {"manifest_sha256": digest, "pictures": total, "part": PART, "format": asked.format}
    _agree(folder, told, asked, pose)
    if names is not None:
        with atomic(manifest, force=True) as temporary:  # several processes write the same
            temporary.write_text(names, encoding="utf-8")
    done = failures = before = 0

    def missing() -> Iterator[Part]:
        nonlocal before
        for part in parts(manifest):
            if part.number % size != rank:
                continue
            path = _path(folder, part, asked)
            if path.exists():
                before += _failures_in(path, len(part.names))
            else:
                yield part

    here = (write_part(pose, part, folder, asked) for part in missing())
    work = _by_ray(load, missing(), folder, asked) if ray else here
    for pictures, failed in work:
        done, failures = done + pictures, failures + failed
        if progress is not None:
            progress(done, total)
    return ManifestPredictions(manifest, folder, total, done, failures, before)


def parts(manifest: Path) -> Iterator[Part]:
    """Yields the parts of a list, whose empty lines are left out."""
    with manifest.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, chunk in enumerate(batched(listed(lines), PART)):
            yield Part(number, number * PART + 1, chunk)


def write_part(pose: Pose | CascadePose, part: Part, folder: Path, asked: Asked) -> tuple[int, int]:
    """Predicts the pictures of a part and writes it; returns how many there are, and how many have failed."""
    records = list(_records(pose, part, asked))
    with atomic(_path(folder, part, asked), force=True) as temporary:
        if asked.format == "parquet":
            _write_parquet(records, temporary)
        else:
            text = "".join(json.dumps(record) + "\n" for record in records)
            temporary.write_text(text, encoding="utf-8")
    return len(records), sum(record["error"] is not None for record in records)


def _records(pose: Pose | CascadePose, part: Part, asked: Asked) -> Iterator[dict[str, object]]:
    """Yields what is known of each picture of a part, in its order."""
    made: dict[int, dict[str, object]] = {}

    def record(line: int, error: str | None, persons: Sequence[Mapping[str, object]] = ()) -> None:
        made[line] = {"line": line, "image": part.names[line - part.first], "error": error, "persons": list(persons)}

    def readable(workers: Workers) -> Iterator[tuple[int, Window, Sequence[Found]]]:
        lines = range(part.first, part.first + len(part.names))
        read = partial(_seen, part, asked, pose)
        for line, seen in workers.ahead(lines, read, 2 * workers.threads + 2):
            try:
                window, found = seen()
                if found is None:
                    found = asked.people.of(Path(part.names[line - part.first]), window.pixels)
            except DeepPoseError as error:
                record(line, str(error))
                continue
            yield line, window, found

    with Workers() as workers:
        for line, _, answered in answers(pose, readable(workers), workers):
            persons, refused = told_apart(answered, numbered=True)
            record(
                line,
                "; ".join(refused) or None,
                [
                    {
                        "person": person.number,
                        "box": None if person.found.box is None else list(person.found.box),
                        "score": person.found.score,
                        "points": as_lists(points),
                    }
                    for person, _, points in persons
                ],
            )
    for line in sorted(made):
        yield made[line]


def _seen(part: Part, asked: Asked, pose: Pose | CascadePose, line: int) -> tuple[Window, Sequence[Found] | None]:
    """Reads a picture; returns its persons too, where they are told without its pixels."""
    name = part.names[line - part.first]
    data = fetched(name) if "://" in name else picture_bytes(name, asked.max_pixels)
    found: Sequence[Found] | None = None
    crops: list[Crop] = []
    try:
        if asked.fast_decode and isinstance(pose, Pose) and not asked.people.by_pixels:
            found = asked.people.of(Path(name), np.empty((0, 0, 3), np.uint8))
            width, height = encoded_size(data)
            for person in found:
                with suppress(DeepPoseError):  # it is said where the person is cut out
                    crops.append(View.of_box(person.box, width, height, pose.preprocessing).crop)
        window = decode_window(data, crops, allow_truncated=asked.allow_truncated, max_pixels=asked.max_pixels)
        return window, found
    except DeepPoseError as error:
        raise DeepPoseError(error.problem, where=error.where or name, advice=error.advice) from error


def _pictures_in(address: str) -> Iterator[str]:
    """Yields the addresses of the pictures under one in a bucket."""
    if not is_bucket(address):
        raise DeepPoseError("a list is a file, or the address of a bucket", where=address)
    for name in listed_in(address):
        if "\n" not in name and PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
            yield name


def _measured(manifest: Path) -> tuple[str, int]:
    """Returns a list's SHA-256, and how many pictures it has."""
    return hash_file(manifest), sum(len(part.names) for part in parts(manifest))


def _path(folder: Path, part: Part, asked: Asked) -> Path:
    return folder / f"part-{part.number:06}.{asked.format}"


def _refuse_format(format: str) -> None:
    """Refuses a format that there is not, or that cannot be written here."""
    refuse_unknown("format", format, FORMATS, " for a list's joints")
    if format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise DeepPoseError(
            "Parquet is written by pyarrow, which is not installed: pip install 'deeppose-port[parquet]'"
        )


#: What is asked of every picture, as a folder's manifest.json has it -> as it is called where it is another.
_ASKED = {
    "persons": "persons' boxes",
    "preprocessing": "preprocessing",
    "fast_decode": "--fast-decode",
    "allow_truncated": "--allow-truncated",
    "max_pixels": "--max-pixels",
}


def _agree(folder: Path, parts: Mapping[str, object], asked: Asked, pose: Pose | CascadePose) -> None:
    """Says what a folder's parts are, or refuses those of another list or checkpoint, or that were asked otherwise."""
    _, names = joints_of(pose, None)
    told = {**parts, "checkpoint": str(pose.path), "joints": list(names)}
    told["checkpoint_sha256"] = pose.first.checkpoint.source.sha256
    told |= {"persons": asked.people.told, "preprocessing": pose.preprocessing.as_dict()}
    told |= {name: getattr(asked, name) for name in ("fast_decode", "allow_truncated", "max_pixels")}
    path = folder / "manifest.json"
    if path.exists():
        there = json_of(path, advice="-o names another folder")
        known = there if isinstance(there, dict) else {}
        other = next((key for key in told if key != "checkpoint" and known.get(key) != told[key]), None)
        if other is not None:
            problem = f"the parts here are of another {other.removesuffix('_sha256')}"
            if other in _ASKED:
                problem = f"the parts here were predicted with other {_ASKED[other]}"
            raise DeepPoseError(problem, where=folder, advice="-o names another folder")
        return
    if folder.is_dir() and any(folder.glob("part-*")):
        raise DeepPoseError(
            "there are parts here, but no manifest.json", where=folder, advice="-o names another folder"
        )
    new_folder(folder).mkdir(parents=True, exist_ok=True)
    with atomic(path, force=True) as temporary:  # several processes write the same
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def _failures_in(path: Path, pictures: int) -> int:
    """Returns how many pictures of a part that is there have an error in place of joints.

    Raises:
        DeepPoseError: It is no part of so many pictures.
    """
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            errors = parquet.read_table(path, columns=["error"])["error"].to_pylist()
        else:
            with path.open(encoding="utf-8") as lines:
                errors = [json.loads(line)["error"] for line in lines]
        if len(errors) != pictures:
            raise DeepPoseError(f"it has {len(errors)} pictures in place of {pictures}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DeepPoseError(
            f"this part is damaged: {reason_of(error)}", where=path, advice="without it, it is predicted again"
        ) from error
    return sum(error is not None for error in errors)


def _write_parquet(records: Sequence[Mapping[str, object]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    number, text = pyarrow.float64(), pyarrow.string()
    person = pyarrow.struct(
        {
            "person": pyarrow.int32(),
            "box": pyarrow.list_(number),
            "score": number,
            "points": pyarrow.list_(pyarrow.list_(number)),
        }
    )
    columns = {"line": pyarrow.int64(), "image": text, "error": text, "persons": pyarrow.list_(person)}
    rows = [{**record, **{name: _utf8(record[name]) for name in ("image", "error")}} for record in records]
    parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(columns)), path)


def _utf8(value: object) -> object:
    """Returns a text with the bytes of a name that is not UTF-8 written out; Parquet's texts are."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


class _RayWorker:
    """A process of Ray's: it has the network ready, and predicts parts."""

    def __init__(self, load: Callable[[], Pose | CascadePose], folder: str, asked: Asked) -> None:
        self._pose, self._folder, self._asked = load(), Path(folder), asked

    def __call__(self, batch: dict[str, list[str]]) -> dict[str, list[int]]:
        counts = []
        for text in batch["part"]:
            number, first, names = json.loads(str(text))
            counts.append(write_part(self._pose, Part(number, first, tuple(names)), self._folder, self._asked))
        return {"pictures": [pictures for pictures, _ in counts], "failures": [failures for _, failures in counts]}


def _by_ray(
    load: Callable[[], Pose | CascadePose], missing: Iterator[Part], folder: Path, asked: Asked
) -> Iterator[tuple[int, int]]:
    """Yields the counts of the parts as Ray's processes have written them."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DeepPoseError("Ray is not installed: pip install 'deeppose-port[ray]'") from error
    items = [{"part": json.dumps([part.number, part.first, list(part.names)])} for part in missing]
    if not items:
        return
    if not ray.is_initialized():
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # where the machine is busy
        ray.init(include_dashboard=False, log_to_driver=False)
    processes = max(1, min(int(ray.cluster_resources().get("CPU", 1)), len(items)))
    written = ray.data.from_items(items).map_batches(
        _RayWorker,
        fn_constructor_args=(load, str(folder.absolute()), asked),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=processes),
    )
    for row in written.iter_rows():
        yield int(row["pictures"]), int(row["failures"])
