"""`make demo`: an old checkpoint, from its file to limbs on a picture.

The checkpoint in examples/astronaut was trained and written by the legacy program on Chainer 1.13. It is a narrow
AlexNet that learned the first six persons of pictures/free.csv; the first is a real one, the astronaut. After that the
included network, lspet-small.safetensors, finds the joints of persons that it never saw.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

import cv2
import synthetic_person

import deeppose_port
from deeppose_port.cli import main as deeppose
from deeppose_port.data import PoseDataset
from deeppose_port.drawing.draw import draw_pose

HERE = Path(os.path.relpath(Path(__file__).resolve().parent))
LEARNED = 6  # persons of free.csv that the network was trained on


def run(*arguments: str) -> None:
    """Runs a command as a user would type it, and shows it."""
    print(f"\n$ deeppose-port {shlex.join(arguments)}", flush=True)
    status = deeppose(arguments)
    if status:
        raise SystemExit(status)


def main() -> None:
    """Converts, evaluates and draws."""
    parser = argparse.ArgumentParser(description="Converts a legacy checkpoint, evaluates it and draws its answers.")
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder for what is written")
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    pictures = HERE / "pictures"
    new = output / "epoch-300.pt"

    run("convert", str(HERE / "astronaut" / "epoch-300.model"), "-o", str(new), "--force")
    run("eval", str(new), "--csv", str(pictures / "free.csv"), "--images", str(pictures), "--skeleton", "flic")

    print(f"It learned the first {LEARNED} of these persons; the others it never saw.")

    pose = deeppose_port.load(new)
    dataset = PoseDataset(pictures / "free.csv", images=pictures, skeleton="flic", preprocessing=pose.preprocessing)
    print("\nThe persons it was trained on (blue: left, red: right, white dashes: the truth):")
    for i in range(LEARNED):
        crop = dataset.view(i).crop
        box = (crop.x0, crop.y0, crop.width, crop.height)
        points = pose.predict(dataset.picture(i), box)
        drawing = draw_pose(
            dataset.picture(i), points, dataset.skeleton, visible=dataset.visible[i], truth=dataset.joints[i]
        )
        target = output / f"person-{i + 1}.png"
        cv2.imwrite(str(target), drawing)
        print(f"  {target}")

    person = output / "synthetic-person.png"
    cv2.imwrite(str(person), synthetic_person.draw())
    low, high = synthetic_person.JOINTS.min(axis=0), synthetic_person.JOINTS.max(axis=0)
    x, y = (low + high) / 2 - 0.625 * (high - low)  # the box of the joints, each side times 1.25
    width, height = 1.25 * (high - low)
    found = output / "found"
    print("\nThe included network learned from 9,000 persons. It never saw these:")
    run("predict", str(pictures / "astronaut.png"), "--box", "36,0,422,512", "-o", str(found / "astronaut"), "--force")
    run("predict", str(person), "--box", f"{x:g},{y:g},{width:g},{height:g}", "-o", str(found / "person"), "--force")
    print("\nIt also answers where there is nobody, so make sure that there is a person in the box:")
    nobody = [str(pictures / name) for name in ("chelsea.png", "coffee.png")]
    run("predict", *nobody, "-o", str(found / "nobody"), "--force")


if __name__ == "__main__":
    main()
