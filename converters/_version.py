"""The version of `converters` and `deeppose_port`."""

__version__ = "0.2.0"
