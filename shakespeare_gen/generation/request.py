"""What a text is asked to be: options by name, checked as the flags are.

Knows no network and no state.
"""

import dataclasses
from typing import Any

import numpy as np

from shakespeare_gen.errors import UsageError
from shakespeare_gen.generation import stopping
from shakespeare_gen.options import groups


@dataclasses.dataclass(frozen=True)
class Request:
    """What a text was asked to be, its bounds checked."""

    generation: groups.GenerationOptions
    sampling: dict[str, Any]
    endings: list[stopping.Ending]
    unknown: str
    start: Any

    @classmethod
    def from_options(cls, unknown: str = "error", start: Any = None, **options) -> "Request":
        """`options`: fields of `groups.GenerationOptions` and `groups.SamplingOptions`."""
        options = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
        stop = options.get("stop", ())
        options["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        options.setdefault("seed", 0)
        groups.LoadOptions(unknown=unknown)
        fields = {field.name for field in dataclasses.fields(groups.GenerationOptions)}
        generation = groups.GenerationOptions(**{k: options[k] for k in options.keys() & fields})
        if generation.seed < 0:
            raise UsageError(f"--seed: expected at least 0, received {generation.seed}")
        sampling_options = {k: options[k] for k in options.keys() - fields}
        return cls(
            generation,
            dataclasses.asdict(groups.SamplingOptions(**sampling_options)),
            stopping.endings(generation.stop, generation.until_line, generation.until_speaker),
            unknown,
            start,
        )
