"""How fast the project is, as ratios of what runs side by side on the same machine: `python -m benchmarks`."""

import os

# As our backend says it where it is what loads PyTorch; a benchmark may load it first. It holds for the peers too.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="2000")
