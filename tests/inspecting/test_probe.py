import numpy as np
import pytest

import converters
from deeppose_port.cli import main
from deeppose_port.inspecting.probe import probe
from tests.helpers.networks import random_checkpoint


def test_a_network_that_answers():
    assert "every answer is finite" in probe(random_checkpoint())


def test_a_network_that_does_not():
    checkpoint = random_checkpoint("resnet50")
    checkpoint.weights["bn1.running_var"][:] = 0  # under a Chainer that added no eps
    assert "answers are NaN or Inf, so it is no use" in probe(checkpoint)


@pytest.mark.parametrize("broken", [True, False])
def test_convert_says_it_after_a_repair_and_only_then(broken, tmp_path, capsys):
    checkpoint = random_checkpoint()
    if broken:
        checkpoint.weights["conv2.weight"][0, 0, 0, 0] = np.nan
    converters.write(checkpoint, tmp_path / "a.safetensors")
    assert main(["convert", str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "b.safetensors")]) == 0
    assert ("through the repaired network: every answer is finite" in capsys.readouterr().err) == broken
