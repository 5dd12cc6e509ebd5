"""Units of loss: nats, bits per character, perplexity.

A loss is the mean negative log-probability of a character in nats, as Keras reports it. Knows
nothing about models.
"""

import math


def bits_per_character(nats: float) -> float:
    """Converts nats per character to bits per character."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """The number of equally likely characters that gives the same loss."""
    return math.exp(nats)


def describe(nats: float) -> str:
    """A loss as text: `1.512 nats, 2.181 bits/char`."""
    return f"{nats:.3f} nats, {bits_per_character(nats):.3f} bits/char"
