"""Pictures that are made up, to compare two networks on where there are no persons."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from converters import Preprocessing
from converters.errors import DeepPoseError
from deeppose_port.data.arrays import Float32Array
from deeppose_port.data.pictures import Picture
from deeppose_port.data.view import View

COUNT = 8
_HEIGHT, _WIDTH = 300, 400


class MadeUpPictures:
    """Pictures of coloured clouds with some noise, each seen whole, made into inputs by a network's preprocessing.

    They are the same for every network. What a network answers to them means nothing; that two answer the same does.
    """

    def __init__(self, preprocessing: Preprocessing, count: int = COUNT) -> None:
        self.preprocessing = preprocessing
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Float32Array]:
        """Returns the network's input, (3, height, width) float32, of a picture."""
        return (self.view(index).input(self.picture(index)),)

    def view(self, index: int) -> View:
        """Returns what the network sees: the whole picture."""
        return View.of_box(None, _WIDTH, _HEIGHT, self.preprocessing)

    def picture(self, index: int) -> Picture:
        """Returns (300, 400, 3) uint8, BGR, read-only."""
        return _picture(index)

    def error(self, index: int, problem: object) -> DeepPoseError:
        """Returns an error that names a picture."""
        return DeepPoseError(f"synthetic picture {index + 1}: {problem}", advice="name persons, --csv and --images")


@lru_cache(COUNT)
def _picture(index: int) -> Picture:
    """Returns one of them, which each side and each look at a layer asks for again."""
    random = np.random.default_rng(index)
    clouds = cv2.resize(random.uniform(0, 255, (6, 8, 3)), (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture: Picture = np.clip(clouds + random.normal(0, 12, clouds.shape), 0, 255).astype(np.uint8)
    picture.flags.writeable = False
    return picture
