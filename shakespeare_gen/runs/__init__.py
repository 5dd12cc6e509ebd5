"""The run folder: all files of a training run.

    config.json      options of the run, hash of its text, format version: see `spec`
    tokenizer.json   text to token ids
    train_lines.safetensors   a sample of the lines of the training text: see `train_lines`
    checkpoints/     the most recent ones and the best one: see `checkpoints`
    metrics.jsonl    one row per epoch, and one every `log_every_steps`: see `history`
    samples.txt      text generated during training
    loss.png         the loss curve
    internals.png    gradients, updates and gates by layer, with `log_internals`
    run.json, README.md   the run card: see `card`

- `folder`: paths, the lock, deletion; `history`: metrics and samples;
- `spec`: options, tokenizer and corpus of a run; `spec_files`: their files; `format_1`: conversion
  of the previous format;
- `finding`: the newest finished run, the runs in a folder;
- `run`: a folder with its spec; `resuming`: which options a resumed run may change;
- `checkpoints`: weights and training state; `store`: atomic checkpoint folders; `tensors`: verified
  safetensors; `progress`: the progress of training;
- `loading`: a generator of one or several runs;
- `card`: the run card.

    run = runs.open_run("runs/quick")
    run.spec.options[TrainingOptions].epochs, run.spec.tokenizer.size, run.metrics()

Generation needs only this folder. All data is verified before use, and opening a run does not
import TensorFlow.
"""

from shakespeare_gen.runs.folder import RunFolder
from shakespeare_gen.runs.run import Run, open_run, split_paths
from shakespeare_gen.runs.spec import CorpusFacts, Resumption, RunSpec, saved_options
from shakespeare_gen.runs.spec_files import FORMAT_VERSION, read_spec, write_spec

__all__ = [
    "FORMAT_VERSION",
    "CorpusFacts",
    "Resumption",
    "Run",
    "RunFolder",
    "RunSpec",
    "open_run",
    "read_spec",
    "saved_options",
    "split_paths",
    "write_spec",
]
