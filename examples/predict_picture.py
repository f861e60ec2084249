"""From any checkpoint, old or new, to joints in a picture's own pixels.

python examples/predict_picture.py examples/astronaut/epoch-300.model examples/pictures/astronaut.png 0 2 428 510
"""

import sys

import cv2

import deeppose_port
from deeppose_port.data import skeletons

checkpoint, picture, *box = sys.argv[1:]
pose = deeppose_port.load(checkpoint)
image = cv2.imread(picture)
if image is None:
    raise SystemExit(f"{picture}: cannot be read")
points = pose.predict(image.astype("uint8"), [float(side) for side in box] or None)
for name, (x, y) in zip(skeletons.get("flic").joints, points, strict=True):
    print(f"{name:15} {x:7.1f} {y:7.1f}")
