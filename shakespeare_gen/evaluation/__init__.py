"""How good a model or a text is, in figures: one module a question.

- `likelihood`: what a frozen network says of every character;
- `adapting`: the same while the network learns from what it has read;
- `ngrams`, `mixture`, `compressors`: what it must beat, and what it can be mixed with;
- `scores`: a loss with its units, accuracy and error;
- `copying`: what stands in the training text already;
- `style`: whether a text loops or drifts;
- `breakdown`, `neurons`: where the loss is, and what single units track.

Knows texts, ids and networks; no run folder, no flags, no pictures.
"""
