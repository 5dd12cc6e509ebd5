"""Exports: a trained model in the formats of other programs, each proved against the model.

- `formats`: the registry of formats and their options;
- `subject`: the models, weights and tokenizer that are exported;
- `recording`, `tracing`: the step of a model as a list of operations;
- `output`: new files and folders, written whole or not at all;
- `proof`: loads an export again, in its own runtime, and compares it with the model;
- `job`: one export from options to its proof;
- `numpy_code`: the operations as Python code; one module for each format.

`programs` has the files that are copied into an exported folder; they do not import this package.

To add a format, write a subclass of `formats.Exporter` and register it: `FORMATS["mine"] =
Format(...)`.

Shapes: B batch, T time, V vocabulary, N tokens of a text.
"""
