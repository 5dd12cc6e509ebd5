"""Training of a run, from options to the run card.

- `preparation`: checks and loads options, text and run folder, without TensorFlow;
- `session`: a whole run: model, training, run folder;
- `fit`: `model.fit` over the windows, from any step to the last epoch;
- `model`: the Keras model for `fit`, with its `train_step`;
- `optimizers`: optimizers and learning rate schedules from options;
- `callbacks`: progress, validation, samples, checkpoints, early stopping.
"""
