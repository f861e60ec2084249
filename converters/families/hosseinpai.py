"""github HosseinPAI, and jayc9135/DeepPose-Human-Pose-Estimation-Modified, which goes back to it."""

from __future__ import annotations

from converters.checkpoint import Preprocessing
from converters.families.family import Family, register
from converters.families.sizes import ALEXNET
from converters.families.torchvision import pooling
from converters.networks import OUTPUTS, Convolution, Dropout, Layer, Linear, LocalResponseNormalization, ReLU


def alexnet() -> tuple[Layer, ...]:
    """ReLU, LRN, pooling; `torch.nn.LocalResponseNorm(5)`, which divides alpha by n."""
    layers: tuple[Layer, ...] = ()
    for i, (channels, kernel, stride, pad) in enumerate(ALEXNET, start=1):
        layers += (Convolution(f"Conv{i}", channels, kernel, stride, pad if i > 1 else 4), ReLU())
        if i < 3:
            layers += (LocalResponseNormalization(f"norm{i}", k=1.0, alpha=1e-4 / 5), pooling())
    layers += (pooling(), Dropout(0.6, channels=True))
    return (*layers, Linear("FC1", 4096), ReLU(), Linear("FC2", 4096), ReLU(), Linear("FC3", OUTPUTS))


register(
    Family(
        name="alexnet-hosseinpai",
        title="HosseinPAI, jayc9135/DeepPose-Human-Pose-Estimation-Modified",
        recognised="`Conv1` … `Conv5`, `FC1` … `FC3`",
        done="their AlexNet with `torch.nn.LocalResponseNorm(5)`, PyTorch only; the whole picture, 220 pixels, resized "
        "as Pillow does, RGB with their mean and deviation; answers from -0.5 to 0.5",
        tables={"alexnet-hosseinpai": alexnet()},
        preprocessing=Preprocessing(
            gcn="none",
            colour="RGB",
            part="picture",
            interpolation="antialiased",
            scale=255.0,
            mean=(0.452, 0.445, 0.379),
            std=(0.216, 0.201, 0.203),
        ),
        engines=("torch",),
    )
)
