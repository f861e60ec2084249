"""A converted checkpoint in plain PyTorch: nothing but `torch.load` and the network that it is for.

python examples/load_in_pytorch.py demo/epoch-300.pt
"""

import sys

import torch

from deeppose_port.backends.torch import build

payload = torch.load(sys.argv[1], weights_only=True)
network = build(payload["architecture"])  # an nn.Module, with the BatchNormalization of the Chainer that trained it
network.load_state_dict(payload["state_dict"], strict=True)
network.eval()

side = payload["preprocessing"]["im_size"]
with torch.inference_mode():
    joints = network(torch.zeros(1, 3, side, side)).reshape(-1, 2)
print(f"{payload['architecture']['name']}: {len(joints)} joints for a grey picture, as fractions of the crop")
for x, y in joints.tolist():
    print(f"  {x:+.3f} {y:+.3f}")
