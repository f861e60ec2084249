"""A cascade in ONNX, with onnxruntime and OpenCV alone: a graph a stage, and the loop from one to the next.

deeppose-port convert cascade.pt --to onnx -o cascade-onnx
python examples/onnx_cascade.py cascade-onnx examples/pictures/astronaut.png 0 2 428 510
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime  # type: ignore[import-untyped]

folder, image = Path(sys.argv[1]), np.asarray(cv2.imread(sys.argv[2]))  # BGR, as the networks were trained on
x, y, width, height = map(int, sys.argv[3:])
points = np.empty((0, 2))
for number, stage in enumerate(json.loads((folder / "cascade.json").read_text())["stages"], start=1):
    size, crop = stage["preprocessing"]["im_size"], stage["crop"]
    session = onnxruntime.InferenceSession(str(folder / stage["file"]), providers=["CPUExecutionProvider"])
    if crop is None:  # the first stage sees the person
        seen, side = [cv2.resize(image[y : y + height, x : x + width], (size, size))], np.array([width, height])
    else:  # a later one a square around each joint, in diameters: the mean distance of opposing joints
        side = crop["sigma"] * np.mean([np.linalg.norm(points[a] - points[b]) for a, b in crop["opposing"]])
        corners = [np.array([(u, v), (u + side, v), (u, v + side)], np.float32) for u, v in points - side / 2]
        whole = np.array([(0, 0), (size, 0), (0, size)], np.float32)
        seen = [cv2.warpAffine(image, cv2.getAffineTransform(corner, whole), (size, size)) for corner in corners]
    planes = np.stack(seen).astype(np.float32).transpose(0, 3, 1, 2)  # preprocessing["gcn"] is "divide"
    planes = (planes - planes.mean((2, 3), keepdims=True)) / (planes.std((2, 3), keepdims=True) + 1e-5)
    (answers,) = session.run(None, {"inputs": planes})
    answers = answers.reshape(len(seen), -1, 2)
    points = (answers[0] + 0.5) * side + (x, y) if crop is None else points + np.einsum("jjk->jk", answers) * side
    print(f"stage {number}: " + "  ".join(f"{u:.1f} {v:.1f}" for u, v in points))
