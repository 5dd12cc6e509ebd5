"""Writes a transformer with random weights for llama.cpp, of the size of the model that ships.

    pip install gguf
    python benchmarks/llama_model.py build/llama.gguf
    python benchmarks/serve_load.py --llama_server=llama-server --llama_model=build/llama.gguf

Six layers of 128 units, 1.2 million parameters in float32, over the characters of
`pretrained:tiny-shakespeare`. Speed does not depend on the values of weights; the text is noise.
"""

import argparse
import pathlib
import sys

import gguf
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))  # runs from a clone
from shakespeare_gen.runs import loading

MODEL = "pretrained:tiny-shakespeare"
WIDTH, NUM_LAYERS, NUM_HEADS, MLP_SIZE = 128, 6, 4, 352
CONTEXT_TOKENS = 512
SPECIAL = ("<unk>", "<s>", "</s>")
BLANK = "\N{LOWER ONE EIGHTH BLOCK}"  # how this kind of tokenizer writes a blank


def write(path: pathlib.Path, characters: str) -> int:
    """Writes the model and returns the number of its parameters."""
    writer = gguf.GGUFWriter(path, "llama")
    add_sizes(writer)
    add_tokens(writer, characters)
    random, num_parameters = np.random.default_rng(1), 0
    for name, shape in shapes(len(SPECIAL) + len(characters)).items():
        weight = random.normal(0, shape[-1] ** -0.5, shape) if len(shape) > 1 else np.ones(shape)
        writer.add_tensor(f"{name}.weight", weight.astype(np.float32))
        num_parameters += weight.size
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return num_parameters


def add_sizes(writer: gguf.GGUFWriter) -> None:
    """The sizes of the network."""
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(NUM_LAYERS)
    writer.add_feed_forward_length(MLP_SIZE)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_HEADS)
    writer.add_rope_dimension_count(WIDTH // NUM_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def add_tokens(writer: gguf.GGUFWriter, characters: str) -> None:
    """A token for each character."""
    tokens = [*SPECIAL, *characters.replace(" ", BLANK)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * len(characters)])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)


def shapes(vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights, a row for each output."""
    found: dict[str, tuple[int, ...]] = {
        "token_embd": (vocabulary_size, WIDTH),
        "output_norm": (WIDTH,),
        "output": (vocabulary_size, WIDTH),
    }
    for i in range(NUM_LAYERS):
        found |= {f"blk.{i}.{name}_norm": (WIDTH,) for name in ("attn", "ffn")}
        found |= {f"blk.{i}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        found |= {f"blk.{i}.ffn_{name}": (MLP_SIZE, WIDTH) for name in ("gate", "up")}
        found[f"blk.{i}.ffn_down"] = (WIDTH, MLP_SIZE)
    return found


def main() -> None:
    """Writes the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=pathlib.Path)
    path = parser.parse_args().path
    path.parent.mkdir(parents=True, exist_ok=True)
    [(run, _)] = loading.read_checkpoints([MODEL])
    print(f"{path}: {write(path, run.spec.tokenizer.characters):,} parameters")


if __name__ == "__main__":
    main()
