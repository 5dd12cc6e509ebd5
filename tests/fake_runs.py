"""Run folders with random weights, created in milliseconds without TensorFlow."""

import dataclasses
import hashlib
import json
import re

import numpy as np

from shakespeare_gen import models, runs, train
from shakespeare_gen.data import tokenizers
from shakespeare_gen.data.corpora import Corpus
from shakespeare_gen.options import Options
from shakespeare_gen.options.groups import (
    ComputeOptions,
    CorpusOptions,
    OptimizerOptions,
    TrainingOptions,
    WindowOptions,
)
from shakespeare_gen.runs import CorpusFacts, RunFolder, RunSpec, checkpoints, store
from shakespeare_gen.runs.progress import Progress
from shakespeare_gen.system import storage

TEXT = "ab" * 50 + "\n"
STEPS_PER_EPOCH = 7


def make_spec(text=TEXT, name="", **values):
    """The spec of a small run; `name`: the loaded corpus, if it differs from that of `values`."""
    defaults = {"corpus": "abab.txt", "units": 16, "embedding_size": 8, "learning_rate": 0.02}
    options = runs.saved_options(Options.parse(train.groups(), {**defaults, **values}))
    requested = options[CorpusOptions].corpus
    tokenizer = tokenizers.from_text(text, options)
    corpus = make_corpus(name or requested, text)
    return RunSpec(options, tokenizer, CorpusFacts.of(corpus, requested))


def make_corpus(name="abab.txt", text=TEXT):
    """The corpus of `make_spec`."""
    return Corpus(name, text, "ab" * 5, "")


class Variable:
    """An array that can be assigned."""

    def __init__(self, value):
        self.value = value
        self.dtype, self.shape = str(value.dtype), value.shape

    def __array__(self, dtype=None, copy=None):
        return self.value if dtype is None else self.value.astype(dtype)

    def assign(self, value):
        self.value = value


@dataclasses.dataclass
class FakeTrainingModel:
    """A model in NumPy with two optimizer variables per weight and a seed."""

    language_model: models.LanguageModel
    state: dict

    def training_state(self):
        return self.state


def training_model(spec, seed=0):
    rng = np.random.default_rng(seed)
    shapes = spec.model_spec.weight_shapes()
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    moments = [rng.normal(size=shape).astype(np.float32) for shape in [*shapes.values()] * 2]
    state = {f"optimizer/{i:04d}": Variable(array) for i, array in enumerate(moments)}
    state["model/0000"] = Variable(np.array([1, 2], np.uint32))
    language_model = models.from_arrays(spec.model_spec, weights)
    for name, weight in weights.items():
        language_model.weights[name] = Variable(weight)
    return FakeTrainingModel(language_model, state)


def progress_of(epoch, step=None, **values):
    step = epoch * STEPS_PER_EPOCH if step is None else step
    progress = Progress(epoch=epoch, step=step, best_validation_loss=1.5, **values)
    if progress.best_checkpoint is None:
        progress.best_checkpoint = progress.checkpoint_name(STEPS_PER_EPOCH)
    return progress


def save(run, epoch, seed=None, num_kept=9, **progress):
    """Saves a checkpoint; the seed of its weights is the epoch."""
    model = training_model(run.spec, epoch if seed is None else seed)
    checkpoints.save(run, model, progress_of(epoch, **progress), STEPS_PER_EPOCH, num_kept)
    return model


def write_run(path, epochs=(1,), **options):
    """Creates a run folder with one checkpoint for each of `epochs`."""
    run = runs.Run(RunFolder(path), make_spec(**options))
    run.folder.make()
    runs.write_spec(run.folder, run.spec)
    for epoch in epochs:
        save(run, epoch)
    return runs.open_run(path)


def downgrade(folder):
    """Converts a run folder to format 1."""
    spec, options = runs.read_spec(folder), runs.read_spec(folder).options
    groups_by_name = {
        "corpus": CorpusOptions,
        "vocabulary": tokenizers.CharacterOptions,
        "windows": WindowOptions,
        "model": models.FAMILIES["recurrent"].options,
        "engine": ComputeOptions,
        "optimizer": OptimizerOptions,
        "training": TrainingOptions,
    }
    groups = {name: options.only([group]).by_name() for name, group in groups_by_name.items()}
    corpus = dataclasses.asdict(spec.corpus)
    del corpus["path"]
    value = {"format_version": 1, **groups, "data": corpus, "resumed": []}
    vocabulary = spec.tokenizer.to_json()
    write_sealed(folder.config_path, value)
    write_sealed(folder.vocabulary_path, vocabulary)
    folder.tokenizer_path.unlink()
    samples = folder.samples_path.read_text("utf-8")
    folder.samples_path.write_text(re.sub(r"(?m)^(=== epoch \d+), \d+ bytes$", r"\1", samples))
    for name in store.names(folder.checkpoints):
        path = folder.checkpoints / name / "state.json"
        state = json.loads(path.read_text("utf-8"))
        del state["model"]["model"], state["tokenizer_sha256"]
        state["vocabulary_sha256"] = hashlib.sha256(storage.to_json(vocabulary)).hexdigest()
        path.write_bytes(storage.to_json(state))
        reseal(path.parent)


# Changes to a folder that keep all hashes valid


def only_checkpoint(folder):
    [name] = store.names(folder.checkpoints)
    return folder.checkpoints / name


def reseal(place):
    """Updates the manifest to match the files, as an attacker would."""
    files = {}
    for name in ("weights.safetensors", "training.safetensors", "state.json"):
        data = (place / name).read_bytes()
        files[name] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (place / "manifest.json").write_bytes(storage.to_json({"files": files}))


def change_number(folder, file, tensor, value):
    """Replaces the first number of a tensor."""
    path = only_checkpoint(folder) / file
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[:8], "little")
    begin = 8 + size + json.loads(data[8 : 8 + size])[tensor]["data_offsets"][0]
    data[begin : begin + 4] = np.float32(value).tobytes()
    path.write_bytes(data)
    reseal(only_checkpoint(folder))


def write_sealed(path, value):
    value.pop("sha256", None)
    path.write_bytes(storage.to_json(storage.sealed(value)))


def edit_options(folder, group, **options):
    value = json.loads(folder.config_path.read_text("utf-8"))
    value["options" if "options" in value else group] |= options
    write_sealed(folder.config_path, value)
