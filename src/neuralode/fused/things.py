"""The kinds of Python objects that f may read."""

import functools
import types
from collections import namedtuple
from collections.abc import Iterable
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = frozenset((int, float, complex, bool, str, bytes, type(None)))
TENSORS = frozenset((Tensor, nn.Parameter, nn.Buffer))
# Packages whose functions do the same at every call.
PACKAGES = frozenset((
    "torch", "math", "cmath", "numpy", "operator", "builtins", "functools", "itertools", "collections", "typing",
    "dataclasses", "abc", "enum", "_operator", "_collections",
))  # fmt: skip
IMPURE = frozenset(("numpy.random", "torch.random"))
# Methods that Python calls by itself.
OPERATORS = (
    "add", "sub", "mul", "truediv", "matmul", "pow", "neg", "radd", "rsub", "rmul", "rtruediv", "rmatmul", "call",
    "getattr", "getattribute", "getitem", "iter", "next", "len", "bool", "contains", "float", "int", "index", "enter",
    "exit", "get", "eq", "lt", "le", "gt", "ge", "torch_function",
)  # fmt: skip
CALLED = ("forward", *(f"__{name}__" for name in OPERATORS))
CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
INTERNAL = frozenset(nn.Module().__dict__)
ATOMS: tuple[type, ...] = (
    types.MethodDescriptorType, types.WrapperDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType,
    types.ClassMethodDescriptorType, types.GenericAlias, types.EllipsisType, types.CodeType, range, torch.dtype,
    torch.device, torch.layout, torch.memory_format, torch._ops.OpOverload, torch._ops.OpOverloadPacket, Enum,
    np.generic, np.ufunc, type(vars(namedtuple("Pair", "one"))["one"]),
)  # fmt: skip


def fixed(package: str | None) -> bool:
    """Whether a package's functions always do the same."""
    return package is not None and package.partition(".")[0] in PACKAGES


def fixed_package(name: str) -> bool:
    """Whether all that may be read of a module of this name stays."""
    return fixed(name) and name not in IMPURE


def is_atom(thing: Any) -> bool:
    """Whether a thing stays as it is, and is known by itself."""
    if isinstance(thing, types.FunctionType):
        return fixed(thing.__module__) and "<locals>" not in thing.__qualname__
    if isinstance(thing, types.BuiltinFunctionType):
        return isinstance(thing.__self__, type) if thing.__module__ is None else fixed(thing.__module__)
    if isinstance(thing, type):
        return fixed(thing.__module__)
    return isinstance(thing, ATOMS)


def own_classes(kind: type) -> list[type]:
    """The classes of an object's ancestry that are not of a fixed package."""
    return [base for base in kind.__mro__ if not fixed(base.__module__)]


def parts_of(value: Any) -> Iterable[Any]:
    """What runs where a class's entry is used, or the entry itself."""
    if isinstance(value, property):
        return [part for part in (value.fget,) if part is not None]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, functools.cached_property):
        return [value.func]
    return [value]
