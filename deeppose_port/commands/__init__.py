"""The commands, a module each: its options, the call into the library, and what is shown of the result.

Libraries are imported inside the commands: `--help` and `convert` to safetensors load neither PyTorch nor Chainer.
"""
