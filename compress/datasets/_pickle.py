"""Read data files that were published as Python pickles, without running what they may hold."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from compress.contracts import BadInput


def read_pickle(path: Path, key: str, what: str) -> Any:
    """``content[key]`` of a pickle of plain values and arrays.

    Args:
        what: the data set's kind of file, for the message.

    Raises:
        BadInput: the file is missing or damaged, has no such key, or asks for anything else to be called.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
        return content[key]
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; get the file again") from error
    except Exception as error:  # a damaged pickle raises errors of every kind
        raise BadInput(f"{path}: not {what} with '{key}' ({error}); get the file again") from error


class _ArraysOnly(pickle.Unpickler):
    """A pickle can call any function; these files need only what builds arrays and their numbers."""

    _ALLOWED = {  # noqa: RUF012
        "_reconstruct": np.empty(0).__reduce__()[0],
        "scalar": np.float64(0).__reduce__()[0],
        "ndarray": np.ndarray,
        "dtype": np.dtype,
        "encode": codecs.encode,
        "bytes": bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] in ("numpy", "_codecs", "builtins", "__builtin__") and name in self._ALLOWED:
            return self._ALLOWED[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
