"""From a file to a Checkpoint, or to a Cascade."""

from __future__ import annotations

import os
from pathlib import Path

from converters import formats
from converters.cascade import Cascade
from converters.checkpoint import Checkpoint
from converters.identify import Options
from converters.plan import check_policy
from converters.progress import ProgressCallback
from converters.stages import plan_of


def read(
    path: str | os.PathLike[str],
    *,
    architecture: str | None = None,
    model_file: str | os.PathLike[str] | None = None,
    part: str | None = None,
    writer: str | None = None,
    nonfinite: str = "zero",
    state: bool = True,
    max_bytes: int = formats.MAX_BYTES,
    progress: ProgressCallback | None = None,
) -> Checkpoint | Cascade:
    """Reads a checkpoint or a cascade of any format, told by its content.

    A legacy `.model` with a `.state` of the same name beside it is read together with it, and so is the `.state`. The
    file is never changed, and nothing in it is run.

    Args:
        path: The file; the folder of a cascade.
        architecture: A name from `networks.TABLES`, where the file itself leaves a choice.
        model_file: The Python file that defined its network, as FILE or FILE:CLASS; the network is read from it, and it
            is never run. None: the model file that a `log.txt` beside the checkpoint names, else every `.py` beside it
            that defines a network; `architecture` leaves those out.
        part: Which of several networks in it: the key under which one was saved, as `ema_state_dict`, the first part of
            its tensors' names, as `student`, or `ema` for the weights that mmcv's EMAHook keeps beside the network's.
            Of a cascade `stage1`, or `stage2.joint0` where a stage has a network a joint.
        writer: The version that wrote it, as `chainer-1.13.0`; it decides BatchNormalization's test-time arithmetic.
            None: from the file's own metadata, a `log.txt` beside it, or keys that only some versions write, else
            Chainer 1.13 with a notice.
        nonfinite: `zero` makes NaN and Inf 0 and reports them, `error` refuses the file, `keep` leaves and reports
            them.
        state: Whether the optimizer's state is read where there is one.
        max_bytes: The most that the arrays of one file may take in memory.
        progress: Called with the bytes done and the bytes to do; from several threads.

    Returns:
        The whole checkpoint, or the whole cascade: nothing is ever loaded in part.

    Raises:
        CheckpointError: The file is refused; the message says what is wrong, where, and what to do.
        DeepPoseError: An argument is none of those listed.
    """
    check_policy(nonfinite)
    plan = plan_of(Path(path), Options(architecture, model_file, writer, state, max_bytes, part))
    return plan.load(nonfinite, progress)
