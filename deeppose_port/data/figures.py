"""Annotated persons as stick figures: a drawing for notebooks that needs no picture."""

from __future__ import annotations

import numpy as np

from deeppose_port.data.arrays import Float64Array, Mask
from deeppose_port.data.skeletons import Skeleton, side

#: How many persons are drawn.
MOST = 8
#: Pixels of a figure's longer side, and around it.
_SIDE, _EDGE = 120.0, 8.0
# Those of `drawing.draw`: they can be told apart by colour-blind readers, on light and dark pages.
_COLOURS = {"left": "#56b4e9", "right": "#d55e00", "": "#b8a200"}


def svg_of(joints: Float64Array, visible: Mask, skeleton: Skeleton) -> str:
    """Draws persons beside each other as SVG: limbs are lines and joints dots, by the side that their names tell.

    Args:
        joints: (N, J, 2), x right and y down.
        visible: (N, J) bool, the joints to draw.
        skeleton: What they are.
    """
    colours = [_COLOURS[side(joint)] for joint in skeleton.joints]
    drawn, x = [], 0.0
    for person, seen in zip(joints, visible, strict=True):
        seen = seen & np.isfinite(person).all(axis=1)
        if not seen.any():
            continue
        low, high = person[seen].min(axis=0), person[seen].max(axis=0)
        points = _EDGE + (person - low) * _SIDE / max(*(high - low), 1e-9) + (x, 0.0)
        x += float(points[seen, 0].max() - x) + _EDGE
        for start, end in skeleton.limbs:
            if seen[start] and seen[end]:
                ends = "x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}'".format(*points[start], *points[end])
                drawn.append(f"<line {ends} stroke='{colours[end]}' stroke-width='3' stroke-linecap='round'/>")
        for joint in np.flatnonzero(seen):
            place = "cx='{:.1f}' cy='{:.1f}'".format(*points[joint])
            drawn.append(f"<circle {place} r='3.5' fill='{colours[joint]}'/>")
    width, height = max(x, 1.0), _SIDE + 2 * _EDGE
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:.0f}' height='{height:.0f}'>{''.join(drawn)}</svg>"
