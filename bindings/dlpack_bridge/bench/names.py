"""The names that the calls of the rows use: modules, extensions and sample arrays, made when needed."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

MODULES = {
    "db": "dlpack_bridge",
    "np": "numpy",
    "torch": "torch",
    "tvm_ffi": "tvm_ffi",
    "cupy": "cupy",
    "jax": "jax",
    "jnp": "jax.numpy",
    "tf": "tensorflow",
    "ml_dtypes": "ml_dtypes",
    "cuda_core": "cuda.core.utils",
}


class Unavailable(Exception):
    """Why something cannot be measured here, in a line."""


def in_a_line(error: BaseException) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def names_in(code: str) -> list[str]:
    """The names that a piece of code expects to find."""
    tree = ast.parse(code)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    made = {node.id for node in nodes if isinstance(node.ctx, ast.Store)} | set(dir(builtins))
    made |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return [node.id for node in nodes if node.id not in made]


class Names(dict[str, Any]):
    """Finds what a call needs. What cannot be had once is not tried again."""

    def __init__(self, samples: Mapping[str, str], extension: Callable[[str], Any] | None = None):
        super().__init__()
        self._samples = samples
        self._extension = extension
        self._failed: dict[str, str] = {}

    def provide(self, code: str) -> None:
        """Makes all names of `code`. Raises Unavailable where one cannot be had."""
        for name in names_in(code):
            if name in self._failed:
                raise Unavailable(self._failed[name])
            if name not in self:
                try:
                    self[name] = self._make(name)
                except Unavailable as error:
                    self._failed[name] = str(error)
                    raise

    def value(self, code: str) -> Any:
        self.provide(code)
        return eval(code, dict(self))

    def _make(self, name: str) -> Any:
        if name in self._samples:
            return self.value(self._samples[name])
        if name in MODULES:
            return imported(MODULES[name])
        if self._extension is None:
            raise NameError(name)
        return self._extension(name)


def imported(module: str) -> Any:
    """Imports a module. Whatever goes wrong with a peer is a reason, and no end of the run."""
    try:
        with contextlib.redirect_stdout(None):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Unavailable(f"{error.name or module} is not installed") from error
    except Exception as error:
        raise Unavailable(f"import {module} failed, {in_a_line(error)}") from error
