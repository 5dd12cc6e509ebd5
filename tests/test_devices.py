"""Starting TensorFlow leaves the process as it was found."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, weakref
class Node: pass
node = Node(); node.itself = node
alive = weakref.ref(node)
del node
{before}
from shakespeare_gen import devices
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
