"""Training of a run, from options to the run card.

- `trainer`: one run, from its options;
- `preparation`: checks and loads options, text and run folder, without TensorFlow;
- `session`: a run from prepared data to the run card;
- `data`: the tokens of a run and how they are cut into batches;
- `control`: what may end a run before its last epoch;
- `sweep`: several runs that differ only in the seed; `sweep_processes`: processes that work at the
  same time;
- `sizing`: options chosen by the length of the text;
- `forecast`: what to expect of training, before it starts;
- `fit`: `model.fit` over the windows, from any step to the last epoch;
- `counting`: one pass over the text instead, for models that are counted;
- `model`: the Keras model for `fit`, with its `train_step`;
- `optimizers`: optimizers and learning rate schedules from options;
- `callbacks`, `reporting`, `saving`, `stopping`: what Keras calls in `fit`;
- `step_metrics`: rows of single steps; `internals`: their values by layer;
- `tensorboard_logs`: TensorBoard;
- `workers`: several processes and devices that train one model together.
"""
