"""Starting TensorFlow leaves the process as it was found."""

import subprocess
import sys

import pytest

from shakespeare_gen.system import devices

PROGRAM = """
import gc, weakref
class Node: pass
node = Node(); node.itself = node
alive = weakref.ref(node)
del node
{before}
from shakespeare_gen.system import devices
devices.start()
print(gc.isenabled(), gc.get_freeze_count() > 100_000, alive() is None)
"""


@pytest.mark.parametrize(
    ("before", "printed"), [("", "True True True"), ("gc.disable()", "False False False")]
)
def test_garbage_collection_goes_on(before, printed):
    """It pauses while TensorFlow is imported; nobody's garbage is kept, no wish overruled."""
    program = PROGRAM.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout.split("\n")[0] == printed


@pytest.mark.parametrize(
    ("processor", "chosen"), [("sse avx2", "float32"), ("avx2 avx512_bf16", "bfloat16")]
)
def test_auto_takes_bfloat16_where_the_processor_multiplies_in_it(processor, chosen, monkeypatch):
    said = []
    monkeypatch.setattr(devices, "_cpu_info", lambda key: processor)
    monkeypatch.setattr(devices.logging, "warning", said.append)
    assert devices.choose_precision("auto") == chosen
    assert devices.choose_precision("float32") == "float32"
    assert not said
    assert devices.choose_precision("bfloat16") == "bfloat16"
    assert bool(said) == (chosen == "float32")
