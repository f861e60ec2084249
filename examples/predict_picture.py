"""From any checkpoint, old or new, to joints in a picture's own pixels.

python examples/predict_picture.py examples/astronaut/epoch-300.model examples/pictures/astronaut.png 0 2 428 510
"""

import sys

import deeppose_port

checkpoint, picture, *box = sys.argv[1:]
pose = deeppose_port.load(checkpoint)
points = pose.predict(picture, [float(side) for side in box] or None)
skeleton = pose.first.skeleton  # of a cascade too
names = skeleton.joints if skeleton else [f"joint {number}" for number in range(len(points))]
for name, (x, y) in zip(names, points, strict=True):
    print(f"{name:15} {x:7.1f} {y:7.1f}")
