import math

import numpy as np
import pytest

from deeppose_port.training.guard import LARGEST_ROOT, Guard, refuse_nonfinite
from deeppose_port.training.run import TrainingError
from tests.helpers.trainings import small_options
from tests.training.test_folder import trained


class TestCulprit:
    def test_the_largest_root_is_the_last_float32_whose_square_is_one(self):
        with np.errstate(over="ignore"):
            root = np.float32(LARGEST_ROOT)
            assert np.isfinite(root * root)
            larger = np.nextafter(root, np.float32(np.inf))
            larger = np.nextafter(larger, np.float32(np.inf))
            assert np.isinf(larger * larger)

    @pytest.mark.parametrize("loss", [math.nan, math.inf])
    def test_a_loss(self, loss):
        assert Guard().culprit(loss, [("a", 1.0)]) == "the loss"

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_gradient(self, value):
        assert Guard(squares=True).culprit(1.0, [("a", 1.0), ("b", value)]) == "the gradient of b"

    @pytest.mark.parametrize(
        ("given", "algorithm", "squares"),
        [
            *(({}, name, True) for name in ("adam", "adagrad", "rmsprop")),
            ({}, "momentumsgd", False),
            ({"grad_clip": 1.0}, "momentumsgd", True),
        ],
    )
    def test_a_square_where_there_is_one(self, given, algorithm, squares, tmp_path, pictures):
        guard = Guard.of(small_options(tmp_path, pictures, **given), algorithm)
        expected = "the square of the gradient of a" if squares else None
        assert guard.culprit(1.0, [("a", 2e19)]) == expected
        assert guard.culprit(1.0, [("a", 1.8e19)]) is None


class TestRefuse:
    def test_the_first_such_step_ends_a_run_that_does_not_skip(self):
        with pytest.raises(TrainingError, match=r"^iteration 3: the loss is not finite; the weights are as before it"):
            Guard().refuse("the loss", 3)

    def test_the_first_is_told_and_all_are_counted(self):
        guard = Guard(skips=True)
        assert guard.summary() is None
        assert guard.refuse("the loss", 3) == "iteration 3: the loss is not finite; the step is left out"
        assert guard.refuse("the loss", 4) is None
        assert guard.summary() == "2 steps with a loss or gradient that was not finite were left out"

    def test_so_many_in_a_row_end_it(self):
        guard = Guard(skips=True, most=3)
        for _ in range(4):
            guard.refuse("the loss", 1)
            guard.refuse("the loss", 2)
            guard.passed()
        guard.refuse("the loss", 1)
        guard.refuse("the loss", 2)
        with pytest.raises(TrainingError, match=r"^iteration 3: the loss is not finite, as in the 2 steps before it; "):
            guard.refuse("the loss", 3)


class TestCheckpoint:
    @pytest.mark.parametrize("value", [math.nan, -math.inf])
    @pytest.mark.parametrize("place", ["weights", "slots"])
    def test_one_that_is_not_finite_is_not_written(self, place, value):
        checkpoint = trained()
        refuse_nonfinite(checkpoint)
        arrays = checkpoint.weights if place == "weights" else checkpoint.optimizer.slots["v"]
        arrays["fc7.bias"] = arrays["fc7.bias"].copy()
        arrays["fc7.bias"][3] = value
        name = "fc7.bias" if place == "weights" else "optimizer.v.fc7.bias"
        with pytest.raises(TrainingError, match=f"^iteration 7: {name} is no longer finite, so no checkpoint"):
            refuse_nonfinite(checkpoint)
