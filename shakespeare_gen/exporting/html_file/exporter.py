"""The format `html`: the writing page as one file, with the model inside.

It is proved in Node. Where that is not installed, NumPy reads the weights of the file.
"""

import base64
import pathlib
import time

import numpy as np
from absl import logging

from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.html_file import content, node, page
from shakespeare_gen.exporting.proof import ReadBack
from shakespeare_gen.exporting.subject import Subject


class HtmlExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        content.check(subject)

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        path.write_text(page.render(content.Content.of(subject)), "utf-8")

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        if node.find():
            return _in_node(path, ids)
        logging.warning("Node is not installed: NumPy reads the weights of the page instead")
        return _in_numpy(path, ids)


def _in_node(path: pathlib.Path, ids: np.ndarray) -> ReadBack:
    # The first tokens are read twice: meanwhile the kernel is compiled.
    reads = [{"method": "logits", "values": {"ids": part.tolist()}} for part in (ids[:256], ids)]
    found = node.run(path, reads)
    _, answer = found.answers
    logits = np.frombuffer(base64.b64decode(answer["result"]), "<f4").reshape(len(ids), -1)
    return ReadBack(found.runtime, logits, answer["seconds"])


def _in_numpy(path: pathlib.Path, ids: np.ndarray) -> ReadBack:
    model = content.model_of(*page.read(path))
    began = time.perf_counter()
    logits, _ = model.read(ids[None])
    seconds = time.perf_counter() - began
    return ReadBack(f"NumPy {np.__version__}", np.asarray(logits)[0], seconds)


EXPORTER = HtmlExporter()
