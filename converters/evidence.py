"""Which Chainer wrote a file: BatchNormalization at test time depends on it, and the file does not say."""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import Version

from converters.errors import DeepPoseError
from converters.families import Writers
from converters.layouts import Sections
from converters.networks import batch_normalization_rules, chainer_version
from converters.values import dataclass

#: Taken when nothing tells: the version the legacy program was written for.
DEFAULT_WRITER = "chainer-1.13.0"
_ANY = Writers()


@dataclass(frozen=True)
class Mark:
    """A key that only some versions write; read off the published packages' `serialize` methods.

    Attributes:
        pattern: Matches the key, without its section.
        since: First release that writes it.
        until: First release that writes it no more, or None.
        always_with: Where a key matches this, versions from `since` on write the mark too: its absence tells as well.
    """

    pattern: str
    since: str
    until: str | None = None
    always_with: str | None = None


#: In an optimizer's state, be it a file or a snapshot's section.
STATE_MARKS = (Mark(r".+/t", "3.4.0", always_with=r".+/(m|v|h|ms)"),)
#: In a snapshot's trainer section.
SNAPSHOT_MARKS = (
    Mark(r"_snapshot_elapsed_time", "1.18.0", always_with="updater/iteration"),
    Mark(r"updater/iterator:main/previous_epoch_detail", "1.23.0", always_with="updater/iterator:main/epoch"),
    Mark(r"stop_trigger/previous_iteration", "3.0.0", always_with="updater/iteration"),
    Mark(r"extensions/LogReport/_summary/_names", "3.3.0", always_with="extensions/LogReport/_log"),
    Mark(r"extensions/LogReport/_trigger/previous_iteration", "4.0.0", always_with="extensions/LogReport/_log"),
    Mark(r"extension_triggers/snapshot(_object)?(_\d+)?/previous_iteration", "3.0.0", "6.0.0"),
    Mark(r"extension_triggers/_Snapshot(_\d+)?/previous_iteration", "6.0.0"),
)
#: The last release of each range that the marks and the rules of BatchNormalization can tell apart.
_RELEASES = (
    "1.4.1",
    "1.13.0",
    "1.17.0",
    "1.20.0",
    "1.22.0",
    "1.24.0",
    "2.1.0",
    "3.2.0",
    "3.3.0",
    "3.5.0",
    "4.5.0",
    "5.4.0",
    "7.8.1",
)


def range_of(sections: Sections, known: Writers = _ANY) -> Writers:
    """Narrows down the writer of a file, of which its family is known, by its keys."""
    by_state = _narrow(known, STATE_MARKS, sections.optimizer.values())
    return _narrow(by_state, SNAPSHOT_MARKS, sections.trainer.values())


def _narrow(known: Writers, marks: Iterable[Mark], keys: Iterable[str]) -> Writers:
    keys = list(keys)
    for mark in marks:
        present = next((key for key in keys if re.fullmatch(mark.pattern, key)), None)
        since = Version(mark.since)
        if present is not None:
            if since > known.since:
                known = Writers(since, known.until, f"the key {present!r}")
            if mark.until and (known.until is None or Version(mark.until) < known.until):
                known = Writers(known.since, Version(mark.until), f"the key {present!r}")
        elif mark.always_with and any(re.fullmatch(mark.always_with, key) for key in keys):
            if known.until is not None and known.until <= since:
                continue
            known = Writers(known.since, since, known.told_by or f"the lack of a key {mark.pattern.lstrip('.+')!r}")
    return known


def tell_writer(known: Writers, log_version: str | None, log_name: str) -> tuple[str, str, bool]:
    """Decides who wrote a file.

    Args:
        known: What the keys tell.
        log_version: What a `log.txt` beside the file says, or None.
        log_name: Its name, for the phrase.

    Returns:
        The writer, how it is known as a phrase, and whether its BatchNormalization is certain.

    Raises:
        DeepPoseError: The log and the keys contradict each other, or the keys themselves do.
    """
    releases = [version for version in map(Version, _RELEASES) if known.holds(version)]
    if not releases:
        raise DeepPoseError(
            f"its keys contradict each other: among them is {known.told_by}, but not what belongs to it"
        )
    if log_version is not None:
        writer = f"chainer-{log_version}"
        if not known.holds(chainer_version(writer)):
            raise DeepPoseError(
                f"{log_name} says Chainer {log_version}, but {known.told_by} is a mark of {_phrase(known)}"
            )
        return writer, f"{log_name} beside the file", True
    default = chainer_version(DEFAULT_WRITER)
    certain = len({batch_normalization_rules(f"chainer-{v}").test_eps for v in releases}) == 1
    if known.holds(default):
        return DEFAULT_WRITER, f"the keys, as {_phrase(known)} writes them" if certain else "assumed", certain
    return f"chainer-{max(releases)}", f"{known.told_by}, a mark of {_phrase(known)}", certain


def _phrase(known: Writers) -> str:
    if known.until is None:
        return f"Chainer {known.since} or later"
    if known.since == _ANY.since:
        return f"a Chainer before {known.until}"
    return f"a Chainer from {known.since} to before {known.until}"
