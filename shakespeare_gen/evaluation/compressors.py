"""General-purpose compressors as language models: the size of a text given the training text.

The conditional size is the size of both texts together minus the size of the training text alone,
so that the compressor knows the training text, as a model does. All compressors adapt to the text
they read. The window of zlib is 32 KiB, the block of bz2 900 KB.

PPMd is variant I from `pyppmd`, which compresses these texts slightly better than variant H.
"""

import bz2
import lzma
import math
import zlib
from collections.abc import Callable

from shakespeare_gen.data.texts import utf_8

PPMD_ORDER = 8
PPMD_MEMORY_BYTES = 256 << 20  # large enough for a training text without a reset


def _ppmd(data: bytes) -> bytes:
    import pyppmd

    return pyppmd.compress(data, max_order=PPMD_ORDER, mem_size=PPMD_MEMORY_BYTES)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    f"PPMd, order {PPMD_ORDER}": _ppmd,
    "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
    "bz2": lambda data: bz2.compress(data, 9),
    "zlib": lambda data: zlib.compress(data, 9),
}


def nats_per_character(name: str, train: str, texts: list[str]) -> list[float]:
    """The conditional size of each of `texts` given `train`, in nats per character."""
    compress = COMPRESSORS[name]

    def size(text: str) -> int:
        return len(compress(b"".join(utf_8(text))))

    alone = size(train)
    return [(size(train + text) - alone) * 8 * math.log(2) / len(text) for text in texts]
