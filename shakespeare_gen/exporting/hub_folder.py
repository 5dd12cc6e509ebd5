"""The format `hub`: a folder as model hubs want it, ready to be uploaded.

    README.md LICENSE model.safetensors config.json tokenizer.json model.py tokenizer.py generate.py

`README.md` is the model card: metadata for the hub, losses, a sample, how it was trained. The rest
is the format `safetensors`. Uploads nothing.
"""

import json
import pathlib
import string
from typing import Any

import numpy as np

from shakespeare_gen.data import corpora
from shakespeare_gen.exporting import folders, safetensors_folder
from shakespeare_gen.exporting.formats import Exporter
from shakespeare_gen.exporting.proof import ReadBack, run_folder
from shakespeare_gen.exporting.subject import Subject
from shakespeare_gen.generation import Generator
from shakespeare_gen.options import spelling
from shakespeare_gen.runs import Run

SAMPLE_TOKENS = 300
_OWN = "The weights and the programs are licensed under the MIT licence; see `LICENSE`."
_OTHER = (
    "The programs in this folder are licensed under the MIT licence; see `LICENSE`. State here, "
    "and as `license` in the metadata, under which licence you publish the weights; it may depend "
    "on the training text."
)


class HubExporter(Exporter):
    """See the docstring of the module."""

    def check(self, subject: Subject, quantize: str) -> None:
        subject.check_has_code()

    def write(self, subject: Subject, quantize: str, path: pathlib.Path) -> None:
        safetensors_folder.write_model(subject, path)
        (path / "LICENSE").write_bytes((folders.PAGES / "LICENSE").read_bytes())
        folders.write_files(subject, path, "hub", quantize)
        (path / "README.md").write_text(card(subject, subject.config("hub", quantize)), "utf-8")

    def read_back(self, path: pathlib.Path, ids: np.ndarray) -> ReadBack:
        return run_folder(path, ids)


def card(subject: Subject, config: dict[str, Any]) -> str:
    """The model card."""
    is_own = all(run.folder.is_pretrained for run in subject.runs)
    page = string.Template((folders.PAGES / "hub.md").read_text("utf-8"))
    values = {
        "sample": _sample(subject),
        "training": _training(subject),
        "licence": _OWN if is_own else _OTHER,
    }
    return "\n".join(
        [
            "---",
            *_metadata(subject, config, "mit" if is_own else "other"),
            "---",
            "",
            *folders.heading(subject, config),
            "",
            page.substitute({**folders.values(subject, config), **values}).rstrip(),
            "",
            *folders.shapes(subject, config),
        ]
    )


def _metadata(subject: Subject, config: dict[str, Any], licence: str) -> list[str]:
    """The front matter in YAML, of which JSON strings are a part."""
    first = config["models"][0]
    families = dict.fromkeys(spec.family for spec in subject.specs)
    corpus = json.dumps(first["corpus"])
    lines = [
        f"license: {licence}",
        "library_name: shakespeare_gen",
        "pipeline_tag: text-generation",
        f"tags: {json.dumps(['safetensors', 'shakespeare_gen', *families])}",
    ]
    if not first["losses"]:
        return lines
    lines += [
        "model-index:",
        f"- name: {json.dumps(subject.name)}",
        "  results:",
    ]
    for split, loss in first["losses"].items():
        lines += [
            "  - task: {type: text-generation}",
            f"    dataset: {{name: {corpus}, type: {corpus}, split: {json.dumps(split)}}}",
            f"    metrics: [{{name: nats per character, type: loss, value: {loss:.4f}}}]",
        ]
    return lines


def _sample(subject: Subject) -> str:
    """The prompt of the card and its continuation."""
    text = folders.prompt(subject.tokenizer)
    generator = Generator(subject.model(), subject.tokenizer)
    [result] = generator.generate(text, length=SAMPLE_TOKENS, temperature=0.8, seed=1)
    return text + result.text.replace("```", "'''")


def _training(subject: Subject) -> str:
    """The command of each run, and its text."""
    parts = []
    for run in subject.runs:
        command = spelling.command_line("train", _published_options(run))
        corpus = run.spec.corpus
        parts.append(
            f"    {command}\n\non {corpus.train_chars:,} characters of {corpus.title} (SHA-256 of "
            f"the splits `{corpus.sha256}`)."
        )
    return "\n\n".join(parts)


def _published_options(run: Run) -> dict[str, Any]:
    """The options of a run that have no default, without the folders of its user."""
    values = run.spec.options.non_defaults()
    values.pop("data_dir", None)
    for name in ("corpus", "fallback_corpus"):
        if name in values and corpora.is_files(values[name]):
            values[name] = _last_part(values[name])
    if "initialize_from" in values:
        values["initialize_from"] = _last_part(values["initialize_from"])
    if "teachers" in values:
        values["teachers"] = tuple(map(_last_part, values["teachers"]))
    return values


def _last_part(path: str) -> str:
    return pathlib.PurePath(path).name


EXPORTER = HubExporter()
