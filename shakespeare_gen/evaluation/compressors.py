"""General compressors as language models: the size they need for a text after another.

The conditional size is that of both texts together less that of the first alone,
so a compressor knows the training text as a model does. They all adapt: what they
have read of the text itself counts too. zlib sees 32 KiB back, bz2 900 KB.

PPMd is that of `pyppmd`, in its variant I, which needs a little less than H here.
"""

import bz2
import lzma
import math
import zlib
from collections.abc import Callable

PPMD_ORDER = 8
PPMD_MEMORY_BYTES = 256 << 20  # so that it never forgets what it has read


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
    """What each of `texts` costs after `train`, in nats per character."""
    compress = COMPRESSORS[name]
    alone = len(compress(_encoded(train)))
    return [
        (len(compress(_encoded(train + text))) - alone) * 8 * math.log(2) / len(text)
        for text in texts
    ]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
