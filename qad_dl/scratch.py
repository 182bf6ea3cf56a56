"""Room for arrays that are worked with and then forgotten: in memory, or on the disk where memory is short."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qad_dl.errors import ShardError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Scratch:
    """Gives arrays.

    Attributes:
        folder: where they lie, in files that are mapped: the system then keeps of them in memory what there is room
            for. None for memory.
    """

    folder: Path | None = None

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array to fill. On the disk it has no name, so that it is gone with its last user, however that ends.

        Raises:
            ShardError: there is no room for it on the disk, or no right to write there.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.folder is None or size == 0:
            return np.empty(shape, dtype)
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would end the process when it is written
                return np.memmap(file, dtype, "r+", shape=shape)
        except OSError as error:
            what = f"no room for {size / 1e6:.0f} MB to work with ({error.strerror or error})"
            msg = f"{self.folder}: {what}; see to its space and rights"
            raise ShardError(msg) from error


IN_MEMORY: Final = Scratch()
"""Where memory is not short."""
