"""A network in ONNX, with onnxruntime and OpenCV alone: no PyTorch, no Chainer and nothing of this project.

deeppose-port convert examples/astronaut/epoch-300.model -o pose.onnx
python examples/onnx_predict.py pose.onnx examples/pictures/astronaut.png 0 2 428 510
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime  # type: ignore[import-untyped]

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
made_with = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
image = np.asarray(cv2.imread(sys.argv[2]))  # BGR, as the network was trained on
x, y, width, height = map(int, sys.argv[3:])
crop = cv2.resize(image[y : y + height, x : x + width], (made_with["im_size"],) * 2).astype(np.float32)
crop = (crop - crop.mean((0, 1))) / (crop.std((0, 1)) + 1e-5)  # made_with["gcn"] is "divide"
(joints,) = session.run(None, {"inputs": crop.transpose(2, 0, 1)[None]})
for i, (part_x, part_y) in enumerate(joints.reshape(-1, 2) + 0.5):  # parts of the crop, from its middle
    print(f"joint {i}: {x + part_x * width:7.1f} {y + part_y * height:7.1f}")
