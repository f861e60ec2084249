"""How fast the project is, as ratios of what runs side by side on the same machine: `python -m benchmarks`."""

import os

# As our backend sets it where it is what loads PyTorch; a benchmark may load it first. It holds for the peers too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
