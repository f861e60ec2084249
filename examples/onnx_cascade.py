"""A cascade in ONNX, with onnxruntime and OpenCV alone: a graph a stage, or one a joint, and the loop over the stages.

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
    networks, crop = stage.get("joints", [stage]), stage["crop"]  # one for all joints, or one a joint
    size, files = networks[0]["preprocessing"]["im_size"], [str(folder / network["file"]) for network in networks]
    sessions = [onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in files]
    if crop is None:  # the first stage sees the person
        seen, side = [cv2.resize(image[y : y + height, x : x + width], (size, size))], np.array([width, height])
    else:  # a later one a square around each joint, in diameters: the mean distance of opposing joints
        side = crop["sigma"] * np.mean([np.linalg.norm(points[a] - points[b]) for a, b in crop["opposing"]])
        corners = [np.array([(u, v), (u + side, v), (u, v + side)], np.float32) for u, v in points - side / 2]
        whole = np.array([(0, 0), (size, 0), (0, size)], np.float32)
        seen = [cv2.warpAffine(image, cv2.getAffineTransform(corner, whole), (size, size)) for corner in corners]
    planes = np.stack(seen).astype(np.float32).transpose(0, 3, 1, 2)  # preprocessing["gcn"] is "divide"
    planes = (planes - planes.mean((2, 3), keepdims=True)) / (planes.std((2, 3), keepdims=True) + 1e-5)
    parts = np.split(planes, len(sessions))  # a joint's network sees the close-up of that joint alone
    told = [session.run(None, {"inputs": part})[0] for session, part in zip(sessions, parts, strict=True)]
    answers = np.concatenate(told).reshape(len(seen), -1, 2)
    answers = answers[:, 0] if len(sessions) > 1 else answers[0] if crop is None else np.einsum("jjk->jk", answers)
    points = (answers + 0.5) * side + (x, y) if crop is None else points + answers * side
    print(f"stage {number}: " + "  ".join(f"{u:.1f} {v:.1f}" for u, v in points))
