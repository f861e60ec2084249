import numpy as np
import pytest

from converters import Preprocessing
from deeppose_port.data import PoseDataset
from deeppose_port.data.arrays import Levels, joined
from deeppose_port.data.batches import batches, batches_by_level
from deeppose_port.data.normalization import levels, normalize

IMAGENET = {"gcn": "none", "scale": 255.0, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
KINDS = {"divide": {}, "subtract": {"gcn": "subtract"}, "none": IMAGENET}


@pytest.fixture(params=["BGR", "RGB"])
def colour(request):
    return request.param


def some_pictures():
    """Three that are no squares; one is of one level, whose deviation is 0."""
    random = np.random.default_rng(3)
    noise = random.integers(0, 256, (2, 30, 50, 3), np.uint8)
    return [noise[0], noise[1] // 9 + 40, np.full_like(noise[0], 7)]


class TestLevels:
    @pytest.mark.parametrize("kind", KINDS)
    def test_they_are_looked_up_to_the_bits_of_normalize(self, kind, colour):
        told = Preprocessing(colour=colour, **KINDS[kind])
        pictures = some_pictures()
        made = joined([levels(picture, told) for picture in pictures])
        assert (made.pixels.shape, made.pixels.dtype) == ((3, 3, 30, 50), np.uint8)
        assert (made.tables.shape, made.tables.dtype) == ((3, 3, 256), np.float32)
        expected = np.stack([normalize(picture, told) for picture in pictures])
        assert np.asarray(made).tobytes() == expected.tobytes()
        assert np.asarray(levels(pictures[0], told)).tobytes() == expected[0].tobytes()

    def test_pixels_that_were_not_rounded_have_none(self, colour):
        told = Preprocessing(colour=colour, **IMAGENET)
        unrounded = some_pictures()[0] + np.float32(0.25)
        made = levels(unrounded, told)
        assert np.array_equal(made, normalize(unrounded, told))
        mixed = joined([levels(some_pictures()[1], told), made])
        assert type(mixed) is np.ndarray
        assert np.array_equal(mixed, np.stack([normalize(some_pictures()[1], told), made]))

    def test_one_input_that_is_an_array_is_not_copied(self):
        one = np.zeros((3, 4, 5), np.float32)
        assert np.shares_memory(joined([one]), one)


class TestBatches:
    @pytest.mark.parametrize("told", [{}, {"interpolation": "unrounded", **IMAGENET}], ids=["rounded", "unrounded"])
    def test_they_are_those_of_the_inputs(self, told, pictures):
        dataset = PoseDataset(
            pictures / "free.csv", images=pictures, skeleton="flic", preprocessing=Preprocessing(im_size=40, **told)
        )
        order = [7, 1, 4]
        found, expected = (list(each(dataset, 2, order)) for each in (batches_by_level, batches))
        assert {isinstance(inputs, Levels) for inputs, _, _ in found} == {not told}
        for one, other in zip(found, expected, strict=True):
            for part, array in zip(one, other, strict=True):
                part = np.asarray(part)
                assert (part.dtype, part.shape) == (array.dtype, array.shape)
                assert part.tobytes() == array.tobytes()
