"""What is predicted: pictures, the crop that a network sees of them, and what it answers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

from converters.errors import DeepPoseError
from converters.values import dataclass
from deeppose_port.cascade import CascadePose
from deeppose_port.data import skeletons
from deeppose_port.data.ahead import Workers
from deeppose_port.data.arrays import Float32Array, Inputs, joined
from deeppose_port.data.close_up import Look
from deeppose_port.data.crop import Box, Points
from deeppose_port.data.pictures import Picture
from deeppose_port.data.pixels import Window
from deeppose_port.data.skeletons import Skeleton
from deeppose_port.data.view import View
from deeppose_port.drawing.draw import NOWHERE, draw_legend, draw_persons, draw_ways
from deeppose_port.drawing.maps import draw_heatmaps, stacked
from deeppose_port.pose import Pose
from deeppose_port.predict.people import Found

Item = TypeVar("Item")
Pixels = TypeVar("Pixels", bound="Picture | Window")

#: How many persons go through a network together.
BATCH = 16


def parse_box(text: str) -> Box:
    """Reads `x,y,w,h`.

    Raises:
        DeepPoseError: It is not four numbers.
    """
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise DeepPoseError(f"the box {text!r} is not four numbers; write it as x,y,width,height") from None
    return x, y, width, height


def joints_of(
    pose: Pose | CascadePose, skeleton: str | os.PathLike[str] | Skeleton | None
) -> tuple[Skeleton | None, tuple[str, ...]]:
    """Returns what a checkpoint's joints are, by itself where nothing is said, and their names.

    Raises:
        DeepPoseError: The skeleton has another number of joints.
    """
    if skeleton is None:
        told = pose.first.skeleton
        return told, told.joints if told is not None else tuple(f"joint {i}" for i in range(pose.joints))
    named = skeletons.get(skeleton)
    if len(named.joints) != pose.joints:
        raise DeepPoseError(f"{pose.path} has {pose.joints} joints, but {named.name} has {len(named.joints)}")
    named.refuse_other_order(pose.preprocessing.told_joints, pose.path)
    return named, named.joints


@dataclass(frozen=True)
class Answer:
    """What a network answers of a person.

    Attributes:
        found: The person.
        number: Its place among the persons of the picture, from 1.
        seen: What the network sees; or why it sees nothing.
        stages: (stages, J, 2) float64, pixels of the picture; a checkpoint that is no cascade has one stage.
        maps: (J, h, w) float32, the heat maps of the last stack of hourglasses, or those that a soft-argmax is given,
            where they were asked for.
    """

    found: Found
    number: int
    seen: Look | DeepPoseError
    stages: Points | None = None
    maps: Float32Array | None = None


#: A person who has joints: the answer, what the network sees, and the joints, (J, 2) in pixels of the picture.
Shown: TypeAlias = tuple[Answer, Look, Points]


def answers(
    pose: Pose | CascadePose,
    pictures: Iterable[tuple[Item, Pixels, Sequence[Found]]],
    workers: Workers,
    legacy_order: bool = False,
    heatmaps: bool = False,
    at_once: bool = False,
    answered_of: Callable[[Item, int, int], None] | None = None,
) -> Iterator[tuple[Item, Pixels, list[Answer]]]:
    """Yields every picture with what is answered of its persons, whose order it keeps.

    As many persons go through the network together as it takes, of several pictures if these have few; no more
    pictures are kept than that.

    Args:
        pose: What answers.
        pictures: The pictures, (H, W, 3) uint8 in BGR, or windows of them, with their persons.
        workers: They cut the persons out, while the pictures after them are found.
        legacy_order: As for `CascadePose.predict_stages`.
        heatmaps: Whether the last stack's maps are kept too.
        at_once: Whether each picture is answered before the next is asked for, as of a camera.
        answered_of: Called with a picture that has more persons than go through at a time, and how many of them have
            gone through, of how many.
    """
    waiting: deque[tuple[Item, Pixels, list[Answer]]] = deque()
    batch: list[tuple[list[Answer], int, Pixels, Look, Future[Inputs]]] = []

    def run() -> None:
        seen: list[tuple[list[Answer], int, Pixels, Look, Inputs]] = []
        for answered, place, image, look, inputs in batch:
            try:
                seen.append((answered, place, image, look, inputs.result()))
            except DeepPoseError as error:
                answered[place] = replace(answered[place], seen=error)
        outputs, maps = asked(pose.first, joined([inputs for *_, inputs in seen]), heatmaps) if seen else ((), None)
        first = [look.points(output) for (*_, look, _), output in zip(seen, outputs, strict=True)]
        found = pose.stages_from([image for _, _, image, *_ in seen], first, legacy_order=legacy_order)
        for i, ((answered, place, *_), stages) in enumerate(zip(seen, found, strict=True)):
            if isinstance(stages, DeepPoseError):
                answered[place] = replace(answered[place], seen=stages)
            else:
                answered[place] = replace(answered[place], stages=stages, maps=None if maps is None else maps[i])
        batch.clear()

    for item, image, found in pictures:
        answered: list[Answer] = []
        waiting.append((item, image, answered))
        for number, person in enumerate(found, 1):
            try:
                look = pose.look(image, person.box, person.face)
                batch.append((answered, number - 1, image, look, workers.begin(partial(pose.first.input, look, image))))
                answered.append(Answer(person, number, look))
            except DeepPoseError as error:
                answered.append(Answer(person, number, error))
            if len(batch) == BATCH:
                run()
                if answered_of is not None and number >= BATCH:
                    answered_of(item, number, len(found))
        if at_once or len(waiting) == BATCH:  # with few persons among them
            run()
        while waiting and not any(answers is waiting[0][2] for answers, *_ in batch):
            yield waiting.popleft()
    run()
    yield from waiting


def asked(pose: Pose, inputs: Inputs, heatmaps: bool) -> tuple[Float32Array, Float32Array | None]:
    """Returns what a network answers, (N, 2 * joints), with the last stack's heat maps, (N, joints, h, w), if asked."""
    maps = pose.heatmaps(inputs) if heatmaps else None
    if maps is None or not pose.stacks:
        return pose(inputs), None if maps is None else maps[-1]
    return pose.joints_of(maps.swapaxes(0, 1)), maps[-1]


def told_apart(answered: Sequence[Answer], numbered: bool) -> tuple[list[Shown], list[str]]:
    """Parts the persons of a picture into those who have joints, and what is wrong with the others' boxes."""
    persons: list[Shown] = []
    refused: list[str] = []
    for answer in answered:
        if not isinstance(answer.seen, DeepPoseError) and answer.stages is not None:
            persons.append((answer, answer.seen, answer.stages[-1]))
        else:
            refused.append(f"person {answer.number}: {answer.seen}" if numbered else str(answer.seen))
    return persons, refused


@dataclass(frozen=True)
class Lettering:
    """What is written on drawings.

    Attributes:
        legend: What the colours mean.
        names: The joints' names, beside them.
    """

    legend: bool = True
    names: bool = False


def drawn(
    image: Picture,
    persons: Sequence[Shown],
    skeleton: Skeleton | None,
    numbered: bool,
    lettering: Lettering,
    ways: bool = False,
    still: bool = True,
) -> Picture:
    """Draws the persons of a picture, with their numbers and boxes where there may be several.

    Args:
        image: (H, W, 3) uint8, BGR.
        persons: What `told_apart` returns.
        skeleton: As for `draw_pose`.
        numbered: Whether there may be several.
        lettering: What is written.
        ways: Whether the way of each joint from stage to stage is drawn too.
        still: Whether the legend may have any corner; those of a video's frames have one.
    """
    legend = NOWHERE
    if lettering.legend:
        beside = [points for _, _, points in persons] if still else ()
        image, legend = draw_legend(image, skeleton, beside=beside, stages=ways)
    if ways:
        image = draw_ways(image, [answer.stages for answer, _, _ in persons if answer.stages is not None])
    each = [(answer.number, answer.found.box) if numbered else (None, None) for answer, _, _ in persons]
    poses = [(*one, points) for one, (_, _, points) in zip(each, persons, strict=True)]
    return draw_persons(image, poses, skeleton, names=lettering.names, legend=legend)


def drawn_heatmaps(image: Picture, persons: Sequence[Shown], names: Sequence[str], numbered: bool) -> Picture:
    """Draws the heat maps of the persons of a picture, one person under the other."""
    return stacked(
        [
            draw_heatmaps(image, view, answer.maps, points, names, f"person {answer.number}" if numbered else "")
            for answer, view, points in persons
            if answer.maps is not None and isinstance(view, View)
        ]
    )


def heatmaps_beside(drawing: Path) -> Path:
    """Returns where heat maps are drawn, beside `NAME_pose.png` or `NAME_pred.png`."""
    return drawing.with_name(f"{drawing.stem.rpartition('_')[0]}_heatmaps{drawing.suffix}")
