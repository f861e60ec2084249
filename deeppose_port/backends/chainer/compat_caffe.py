"""The messages of Caffe's files, for the protobuf of today.

Chainer carries what a protobuf compiler of 2016 wrote for `caffe.proto`, which protobuf 4 and later refuse to run. The
file's own description of its messages stands in it as bytes; protobuf builds the same messages from those.
"""

from __future__ import annotations

import ast
import importlib
import re
import types
from pathlib import Path

NAME = "chainer.links.caffe.protobuf3.caffe_pb2"


class Messages(types.ModuleType):
    """Stands in for Chainer's generated module. Its messages are built when the first of them is asked for."""

    def __init__(self) -> None:
        super().__init__(NAME, __doc__)
        folder = Path(importlib.import_module("chainer").__path__[0])
        self.__file__ = str(folder / "links" / "caffe" / "protobuf3" / "caffe_pb2.py")

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or "DESCRIPTOR" in vars(self):
            raise AttributeError(f"module {NAME!r} has no attribute {name!r}")
        self._build()
        return getattr(self, name)

    def _build(self) -> None:
        message_factory = importlib.import_module("google.protobuf.message_factory")
        enumerations = importlib.import_module("google.protobuf.internal.enum_type_wrapper")
        # A pool of its own: a real Caffe's `caffe.proto` may be in the common one.
        pool = importlib.import_module("google.protobuf.descriptor_pool").DescriptorPool()
        pool.AddSerializedFile(serialized_description(Path(self.__file__ or "").read_text(encoding="utf-8")))
        description = pool.FindFileByName("caffe.proto")
        for name, message in description.message_types_by_name.items():
            setattr(self, name, message_factory.GetMessageClass(message))
        for name, enumeration in description.enum_types_by_name.items():
            setattr(self, name, enumerations.EnumTypeWrapper(enumeration))
            for value in enumeration.values:
                setattr(self, value.name, value.number)
        self.DESCRIPTOR = description


def serialized_description(source: str) -> bytes:
    """Returns the bytes given as `serialized_pb` in a generated module, of which no line is run.

    Raises:
        LookupError: There are none.
    """
    found = re.search(r"^ *serialized_pb=_b\((b?'.*')\)$", source, re.MULTILINE)
    literal = ast.literal_eval(found.group(1)) if found else None
    if not isinstance(literal, str):
        raise LookupError("no serialized_pb stands in it")
    return literal.encode("latin-1")
