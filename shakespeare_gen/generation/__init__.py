"""Generation: prompt to text.

- `generator`: `Generator`, the public face: read, generate, stream, score;
- `request`: what is asked for one text, as typed options, and its result;
- `reading`: a prompt to a `State`, which can be continued many times;
- `texts`: the texts of requests, in batches; `stopping`: where a text ends;
- `decoding`: the loop over tokens; `batch`: the rows that it draws; `programs`: what is compiled;
- `sampling`: from logits to an id, one object per transform; `beam_search`: the most likely texts.

    generator = Generator(model, tokenizer)
    generator.generate("ROMEO:", length=200, temperature=0.8, seed=1)[0].text

Knows models and tokenizers by their contracts, and nothing about run folders. TensorFlow is
imported when something is compiled for a model of TensorFlow.
"""

from shakespeare_gen.generation import sampling
from shakespeare_gen.generation.generator import Generator
from shakespeare_gen.generation.reading import State
from shakespeare_gen.generation.request import Request, Result
from shakespeare_gen.options import OptionGroup
from shakespeare_gen.options.groups import GenerationOptions

__all__ = ["Generator", "Request", "Result", "State", "groups"]


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of generation."""
    return (*sampling.groups(), GenerationOptions)
