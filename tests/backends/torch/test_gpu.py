"""What needs a GPU; skipped where there is none."""

import numpy as np
import pytest
import torch

import converters
import deeppose_port
from deeppose_port.backends.torch.optimizers import OPTIMIZERS
from tests.helpers.networks import error, narrow_inputs, random_checkpoint
from tests.helpers.trainings import log_lines, run, weight_error, weights_of, write_csv

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here"),
]


@pytest.mark.parametrize("name", ["alexnet", "resnet50", "vgg_bn"])
def test_outputs_are_the_cpus(name):
    widths = {"resnet50": {"conv1": 4}, "vgg_bn": {"fc6": 8, "fc7": 8}}
    checkpoint = random_checkpoint(name, **({"widths": widths[name]} if name in widths else {}))
    on_cpu = deeppose_port.load(checkpoint, device="cpu")(narrow_inputs())
    on_gpu = deeppose_port.load(checkpoint, device="cuda:0")(narrow_inputs())
    assert error(on_gpu, on_cpu) <= 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_follow_the_same_rule(name):
    """In the fused kernels of `torch._foreach_*` too."""
    torch.manual_seed(0)
    starts = [torch.randn(shape) for shape in ((), (7,), (4, 3, 5, 5))]
    gradients = [[torch.randn_like(start) for start in starts] for _ in range(5)]
    ended = {}
    for device in ("cpu", "cuda:0"):
        parameters = [torch.nn.Parameter(start.to(device, copy=True)) for start in starts]
        optimizer = OPTIMIZERS[name](parameters, lr=0.01, weight_decay=0.1)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.to(device)
            optimizer.step()
        ended[device] = [parameter.detach().cpu() for parameter in parameters]
    for ours, expected, start in zip(ended["cuda:0"], ended["cpu"], starts, strict=True):
        assert (ours - expected).norm() <= 1e-6 * (expected - start).norm()


@pytest.fixture
def on_cpu(tmp_path, pictures):
    """What a training on the CPU tells."""
    csv = write_csv(tmp_path / "test.csv", pictures)
    return run(tmp_path, pictures, output=tmp_path / "cpu", test_csv=csv, opt="MomentumSGD")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"channels_last": False},
        {"workers": 2},
        {"amp": "bf16"},
        pytest.param({"compile": True}, marks=pytest.mark.slow),
        pytest.param({"compile": True, "amp": "bf16"}, marks=pytest.mark.slow),
    ],
    ids=lambda given: "-".join(given) or "plain",
)
def test_a_training_follows_that_on_the_cpu(given, on_cpu, tmp_path, pictures):
    csv = tmp_path / "test.csv"
    watch = run(tmp_path, pictures, test_csv=csv, opt="MomentumSGD", device="cuda:0", **given)
    # Convolutions may use TensorFloat-32, which keeps 10 bits; bfloat16 keeps 7.
    bound = 0.03 if "amp" in given else 3e-3
    np.testing.assert_allclose(watch.losses, on_cpu.losses, rtol=bound)
    assert weight_error(weights_of(tmp_path / "results/last.pt"), weights_of(tmp_path / "cpu/last.pt")) <= bound
    logged, expected = (log_lines(tmp_path / name / "log")[-1] for name in ("results", "cpu"))
    assert logged["validation/main/loss"] == pytest.approx(expected["validation/main/loss"], rel=bound)


def test_its_checkpoint_goes_on_on_the_cpu_and_back(tmp_path, pictures):
    run(tmp_path, pictures, epochs=1, device="cuda:0")
    run(tmp_path, pictures, epochs=2, resume=tmp_path / "results")
    on = run(tmp_path, pictures, epochs=3, resume=tmp_path / "results", device="cuda:0")
    assert on.steps[-1].epoch == 3
    checkpoint = converters.read(tmp_path / "results" / "last.pt", nonfinite="error")
    assert checkpoint.optimizer.step == checkpoint.progress.iteration == 6


def test_a_step_that_is_not_finite_is_left_out(tmp_path, pictures):
    watch = run(tmp_path, pictures, device="cuda:0", opt="MomentumSGD", lr=1e30, nonfinite_gradients="skip", epochs=4)
    assert "left out" in watch.notices[-1]
    converters.read(tmp_path / "results" / "last.pt", nonfinite="error")


def test_a_profile_names_every_part(tmp_path, pictures):
    watch = run(tmp_path, pictures, device="cuda:0", epochs=8, snapshot=8, profile=True)
    (report,) = watch.notices
    assert [line.split()[0] for line in report.splitlines()[1:-1]] == [
        "data",
        "copy",
        "forward",
        "backward",
        "optimizer",
    ]


def test_its_speed_and_waiting_are_told(tmp_path, pictures):
    watch = run(tmp_path, pictures, device="cuda:0")
    assert all(step.pictures_per_second > 0 and 0 <= step.waiting <= 1 for step in watch.steps)


def test_a_gpu_that_is_not_there_is_refused(tmp_path, pictures):
    with pytest.raises(deeppose_port.backends.BackendError, match=r"cuda:63: it sees \d+ GPUs"):
        run(tmp_path, pictures, device="cuda:63")
