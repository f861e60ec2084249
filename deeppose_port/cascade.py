"""A cascade that answers: stage after stage, each from the joints of the one before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from converters import Preprocessing
from converters.cascade import Cascade, Stage
from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float32Array, Float64Array
from deeppose_port.data.close_up import Rectangle, input_of, rectangle_of_face, scaled, squares
from deeppose_port.data.faces import find_face
from deeppose_port.data.pictures import Picture, checked_picture
from deeppose_port.data.view import Box
from deeppose_port.pose import Pose

#: How many close-ups go through a network at once.
_BATCH = 32
#: The program of takiyu mixes stages in an order of its own, which is known for three.
_LEGACY_STAGES = 3


class CascadePose:
    """A cascade's networks on one backend and device.

    Attributes:
        cascade: The cascade.
        stages: Its networks, ready to answer: one, or one a joint, for every stage.
    """

    def __init__(self, cascade: Cascade, backend: str = "torch", device: str = "cpu", relu_nan: str = "nan") -> None:
        self.cascade = cascade
        self.stages = tuple(
            tuple(Pose(network, backend, device, relu_nan=relu_nan) for network in stage.networks)
            for stage in cascade.stages
        )

    @property
    def joints(self) -> int:
        """Number of joints."""
        return self.cascade.joints

    @property
    def preprocessing(self) -> Preprocessing:
        """How pictures become the first stage's inputs."""
        return self.first.preprocessing

    @property
    def first(self) -> Pose:
        """The first stage, which answers by itself as any checkpoint does."""
        return self.stages[0][0]

    def predict(
        self,
        image: Picture,
        box: Box | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
    ) -> Float64Array:
        """Finds one person's joints in a picture: the answer of the last stage.

        Arguments and errors are those of `predict_stages`.

        Returns:
            (joints, 2) float64, x right and y down, in pixels of the picture.
        """
        stages = self.predict_stages(image, box, face=face, start=start, legacy_order=legacy_order)
        return np.asarray(stages[-1], np.float64)

    def predict_stages(
        self,
        image: Picture,
        box: Box | None = None,
        *,
        face: Sequence[float] | None = None,
        start: npt.ArrayLike | None = None,
        legacy_order: bool = False,
    ) -> Float64Array:
        """Finds one person's joints in a picture, stage by stage.

        Args:
            image: (H, W, 3) uint8, BGR as OpenCV reads it.
            box: (x, y, width, height) in pixels of the picture: what the first stage sees; None: all of it. For a
                cascade that cuts persons out by their faces it is the rectangle that follows from one.
            face: (x, y, width, height) of the person's face, for such a cascade; None, with no box: the largest that
                OpenCV finds.
            start: (joints, 2): a pose that is known already, of the frame before say, in place of the first stage's
                answer.
            legacy_order: The order in which the program of takiyu goes about it: joint by joint, so that from the third
                stage on it mixes stages.

        Returns:
            (stages, joints, 2) float64, x right and y down, in pixels of the picture.

        Raises:
            DeepPoseError: The picture, box, face or pose cannot be used, or a torso has no length.
            NoFaceError: No face is found.
        """
        checked_picture(image)
        if legacy_order:
            self._refuse_order()
        first = self._first(image, box, face) if start is None else self._started(start)
        poses = [first]
        seen = scaled(image, self.first.preprocessing) if self.cascade.face is not None else image
        for number in range(1, len(self.stages)):
            if legacy_order and number > 1:
                poses.append(self._mixed(number, seen, poses))
            else:
                poses.append(poses[-1] + self._displacements(number, seen, poses[-1]))
        return np.stack(poses)

    # --- the first stage ---------------------------------------------------------------------------------------------

    def _first(self, image: Picture, box: Box | None, face: Sequence[float] | None) -> Float64Array:
        """Returns the first stage's answer, (joints, 2)."""
        rule = self.cascade.face
        if rule is None:
            if face is not None:
                raise DeepPoseError("this cascade does not cut persons out by their faces: give box instead of face")
            return self.first.predict(image, box)
        if box is None:
            rectangle = rectangle_of_face(find_face(image) if face is None else face, rule)
        elif face is None:
            x, y, width, height = map(float, box)
            rectangle = Rectangle(x + width / 2, y + height / 2, width, height)
        else:
            raise DeepPoseError("box and face both say where the person is: give one of them")
        preprocessing = self.first.preprocessing
        rows, columns = preprocessing.shape
        outputs = self.first(input_of(scaled(image, preprocessing), rectangle, preprocessing)[None])[0]
        # In float32, as the program does.
        size = np.array([columns, rows], np.float32)
        points = (outputs.reshape(-1, 2) * size + size / 2).astype(np.float64)
        matrix = np.vstack([rectangle.matrix(columns, rows), (0, 0, 1)])
        points = (np.linalg.inv(matrix) @ np.column_stack([points, np.ones(len(points))]).T)[:2].T
        left, right = rule.shoulders
        if points[left, 0] < points[right, 0]:
            order = np.arange(len(points))
            for a, b in rule.swapped:
                order[[a, b]] = b, a
            points = points[order]
        return np.asarray(points, np.float64)

    def _started(self, start: npt.ArrayLike) -> Float64Array:
        points = np.asarray(start, np.float64)
        if points.shape != (self.joints, 2) or not np.isfinite(points).all():
            raise DeepPoseError(f"the pose to start from, {points.shape}, is not ({self.joints}, 2), or not finite")
        return points

    # --- later stages ------------------------------------------------------------------------------------------------

    def _displacements(
        self, number: int, seen: Picture | Float32Array, pose: Float64Array, joints: Sequence[int] | None = None
    ) -> Float64Array:
        """Returns by how much a stage moves joints of a pose, (joints asked for, 2) in pixels of the picture."""
        stage = self.cascade.stages[number]
        asked = range(self.joints) if joints is None else joints
        assert stage.close_up is not None
        around = squares(pose, stage.close_up)
        outputs = self._outputs(number, stage, seen, [around[joint] for joint in asked], asked)
        rows, columns = self.stages[number][0].preprocessing.shape
        moved = []
        for joint, answer in zip(asked, outputs, strict=True):
            turn = around[joint].matrix(columns, rows)[:, :2]
            moved.append(np.linalg.inv(turn) @ (answer * np.array([columns, rows], np.float32)).astype(np.float64))
        return np.array(moved).reshape(-1, 2)

    def _outputs(
        self,
        number: int,
        stage: Stage,
        seen: Picture | Float32Array,
        around: Sequence[Rectangle],
        joints: Sequence[int],
    ) -> Float32Array:
        """Returns what a stage's networks answer to close-ups of joints, (joints asked for, 2)."""
        networks = self.stages[number]
        answers = np.empty((len(joints), 2), np.float32)
        if not stage.shared:
            for k, joint in enumerate(joints):
                network = networks[joint]
                answers[k] = network(input_of(seen, around[k], network.preprocessing)[None])[0]
            return answers
        network = networks[0]
        for start in range(0, len(joints), _BATCH):
            part = slice(start, start + _BATCH)
            inputs = np.stack([input_of(seen, rectangle, network.preprocessing) for rectangle in around[part]])
            for k, (joint, output) in enumerate(zip(joints[part], network(inputs), strict=True), start):
                answers[k] = output.reshape(-1, 2)[joint]
        return answers

    def _refuse_order(self) -> None:
        if self.cascade.face is None or len(self.stages) > _LEGACY_STAGES:
            raise DeepPoseError(
                f"legacy_order is that of takiyu's program, known for its cascades of {_LEGACY_STAGES} stages"
            )

    def _mixed(self, number: int, seen: Picture | Float32Array, poses: Sequence[Float64Array]) -> Float64Array:
        """Returns the third stage as the program of takiyu computes it, joint by joint.

        It looks from a pose that has the second stage for the joints up to this one and the first for those after it,
        and adds what it answers, for every joint but the first, to the first stage's place.
        """
        first, before = poses[number - 2], poses[number - 1]
        result: Float64Array = first.copy()
        for joint in range(self.joints):
            mixed = np.where((np.arange(self.joints) <= joint)[:, None], before, first)
            base = before if joint == 0 else first
            result[joint] = base[joint] + self._displacements(number, seen, mixed, [joint])[0]
        return result
