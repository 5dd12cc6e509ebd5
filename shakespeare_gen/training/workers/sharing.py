"""The values of a model that all workers need from the chief: at the start, and the best weights.

Every function is called by all workers.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from shakespeare_gen import models
from shakespeare_gen.runs import checkpoints, tensors
from shakespeare_gen.runs.checkpoints import Checkpoint
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import storage
from shakespeare_gen.training.model import TrainingModel
from shakespeare_gen.training.workers.team import Team


def start(
    team: Team, model: TrainingModel, spec: models.Spec, begin: Callable[[], Checkpoint | None]
) -> Checkpoint | None:
    """Gives the model of every worker the values of the chief's.

    Args:
      begin: gives the chief's model its first weights, and returns the checkpoint of a run that is
        resumed.

    Raises:
      UserError: that of `begin`, in all workers.
    """
    found: Checkpoint | None = None

    def facts() -> bytes:
        nonlocal found
        found = begin()
        return storage.to_json(
            {"place": found.place.name, "progress": dataclasses.asdict(found.progress)}
            if found
            else {}
        )

    told = storage.parse_json(team.from_chief(facts))
    weights = arrays(
        team,
        checkpoints.weight_kinds(spec),
        lambda: checkpoints.arrays_of(model.language_model.weights),
    )
    kinds = checkpoints.training_kinds(model)
    training = arrays(team, kinds, lambda: found.training if found else {}) if told else {}
    if not team.is_chief:
        for name, variable in model.language_model.weights.items():
            variable.assign(weights[name])
        if told:
            progress = Progress.from_json(told["progress"])
            found = Checkpoint(pathlib.Path(told["place"]), progress, weights, training)
            found.assign_to(model)
        model.offset_dropout(team.cluster.index)
    return found


def arrays(
    team: Team, kinds: tensors.Kinds, make: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Named arrays of the chief, which `make` returns there."""
    data = team.from_chief(lambda: tensors.encode(make()))
    return tensors.decode(data, kinds, team.cluster.name(0))
