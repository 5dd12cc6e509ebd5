"""The same transformer in this package and in PyTorch, for the benchmarks.

A size is (width, layers, batch, window); the context is the window. Knows nothing about time.
"""

VOCABULARY_SIZE = 65
NUM_HEADS = {128: 4, 384: 6}  # by width, as in flags/gpt_baby.cfg and flags/gpt.cfg


def spec_of(width: int, layers: int, window: int):
    """The spec of the network in this package."""
    from shakespeare_gen.models.transformer import TransformerOptions, TransformerSpec

    options = TransformerOptions(
        num_layers=layers,
        num_heads=NUM_HEADS[width],
        width=width,
        context_tokens=window,
        mlp="gelu",
        tied_embeddings=True,
    )
    return TransformerSpec(VOCABULARY_SIZE, options)


def torch_network(width: int, layers: int, window: int):
    """The network in PyTorch, with `scaled_dot_product_attention`."""
    import torch
    from torch import nn

    heads = NUM_HEADS[width]
    size = width // heads
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(window)[:, None] * frequencies
    cosine, sine = torch.cos(angles), torch.sin(angles)

    def rotated(x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1).to(x.dtype)

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention_norm, self.mlp_norm = nn.RMSNorm(width, 1e-5), nn.RMSNorm(width, 1e-5)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.attention_output = nn.Linear(width, width, bias=False)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width, bias=False),
                nn.GELU("tanh"),
                nn.Linear(4 * width, width, bias=False),
            )

        def forward(self, x):
            qkv = self.qkv(self.attention_norm(x)).view(*x.shape[:2], 3, heads, size)
            query, key, value = qkv.permute(2, 0, 3, 1, 4)
            attended = nn.functional.scaled_dot_product_attention(
                rotated(query), rotated(key), value, is_causal=True
            )
            x = x + self.attention_output(attended.transpose(1, 2).reshape(x.shape))
            return x + self.mlp(self.mlp_norm(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY_SIZE, width)
            self.layers = nn.Sequential(*(Layer() for _ in range(layers)), nn.RMSNorm(width, 1e-5))

        def forward(self, ids):
            x = self.layers(self.embedding(ids))
            return nn.functional.linear(x, self.embedding.weight)

    return Model()
