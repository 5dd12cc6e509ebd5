"""Given names from the package `names`: a list of the US census of 1990, one name a line.

Each name is a document. The order is random but fixed, so that every split contains frequent and
rare names.
"""

import random

from shakespeare_gen.data.sources import packages
from shakespeare_gen.data.splits import Splits, cut_documents
from shakespeare_gen.options.groups import CorpusOptions

SEED = 0


def load(argument: str, options: CorpusOptions) -> Splits:
    """All names, as in `Mary`, split by their number.

    Raises:
      CorpusUnavailableError: the package is not installed.
    """
    found = packages.files("names", ["dist.*.first"], "corpora", "names")
    lines = [line for file in found for line in file.read_text("ascii").splitlines()]
    every = sorted({line.split()[0].capitalize() for line in lines if line.strip()})
    random.Random(SEED).shuffle(every)
    return cut_documents(every, options.validation_fraction, options.test_fraction)
