"""TODO."""

from shakespeare_gen.generation.generator import Generator, Result, State

__all__ = ["Generator", "Result", "State"]
