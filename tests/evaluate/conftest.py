"""PyTorch stays channels last here too: what is compared to the bit is computed in one order."""

from tests.backends.conftest import _channels_last

__all__ = ["_channels_last"]
