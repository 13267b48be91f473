"""How inner loops are compiled: by Numba, one thread, IEEE rules, and kept for the next process.

Nothing may be reordered by the compiler (no fast-math) and the one fused operation is asked for by name (`fma`), so a
pixel is the same on every machine, however wide its vectors are. The first call on a machine compiles (8 s of CPU in
all; array expressions and assignments to slices would cost seconds each, so loops are plain); the result is kept beside
the source, or in the user's cache folder, or, where neither can be written, for the process.
"""

import math
from collections.abc import Callable

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LINE = 64
"""Bytes of a cache line, and of the widest vectors."""


def _use_wide_vectors() -> None:
    """LLVM avoids 512-bit vectors where a machine has them; on arrays that begin with a line they are faster here."""
    features, settings = llvmlite.binding.get_host_cpu_features(), vars(numba.config)
    if features.get("avx512f") and settings["CPU_FEATURES"] is None:
        features["prefer-256-bit"] = False
        settings["CPU_FEATURES"] = features.flatten()


_use_wide_vectors()


def compiled(function: Callable) -> Callable:
    """Compile on first use.

    Loading a kept loop imports the module that it was compiled in, by name. The library is installed under two names,
    one of which may be somebody else's module, so the loop is filed under a module that is always there.
    """
    function.__module__ = numba.__name__
    try:
        return numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # no folder to keep the result in
        return numba.njit(function, nogil=True)


def _fma(typing, a, b, c):
    single = types.float32
    return single(single, single, single), lambda context, builder, signature, arguments: builder.fma(*arguments)


fma: Callable = intrinsic(_fma)
"""a b + c of float32 with one rounding, on every machine."""


def _high_product(typing, a, b):
    word, wide = types.uint64, ir.IntType(128)

    def build(context, builder, signature, arguments):
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return word(word, word), build


high_product: Callable = intrinsic(_high_product)
"""The upper 64 of the 128 bits of a b, of uint64."""


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An uninitialised float32 array that begins with a cache line: a vector then never crosses one."""
    memory = np.empty(4 * math.prod(shape) + LINE, np.uint8)
    return np.ndarray(shape, np.float32, memory, -_address(memory) % LINE)


@compiled
def _address(memory):
    return memory.ctypes.data
