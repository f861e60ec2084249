"""What became of the options of the legacy program that are no more."""

from __future__ import annotations

_SKELETON = "--skeleton: it knows the joints and which are each other's mirror image"
_RESUME = "--resume, with a checkpoint or a result folder: the optimizer's state is found beside it"
_ALWAYS = "nothing: it was never used, or always the same"

#: Option -> what it became. Those that are spelled with hyphens today alone are not among them: both spellings work.
BECAME = {
    "--gpus": "--device: `--gpus 0,1` is `--device cuda:0,cuda:1`, and `--gpus -1` is `--device cpu`",
    "--gpu": "--device: `--gpu 0` is `--device cuda:0`, and `--gpu -1` is `--device cpu`",
    "--n-joints": _SKELETON,
    "--joint-num": _SKELETON,
    "--symmetric-joints": _SKELETON,
    "--resume-model": _RESUME,
    "--resume-opt": _RESUME,
    "--resume-param": _RESUME,
    "--param": "the checkpoint, as the command's first argument",
    "--mode": "a command: `--mode test` is `deeppose-port persons`, and `--mode tile` the same with --tile",
    "--n-imgs": "--tile: `--n_imgs 9` is `--tile 3x3`",
    "--test-freq": "--valid-freq",
    "--channel": _ALWAYS,
    "--fname-index": _ALWAYS,
    "--joint-index": _ALWAYS,
}


def advice(option: str) -> str:
    """Returns what became of an option; empty for one that the legacy program did not have."""
    became = BECAME.get(option)
    return f"it became {became}" if became else ""
