"""The Keras model that `fit` trains: ids [B, T] -> logits [B, T, V].

Knows nothing about optimizers, files or text.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models import LanguageModel, states


class TrainingModel(keras.Model):
    """Trains `language_model`.

    With `carry_batch_size`, the final state of a training batch is the initial state of the next
    one, until `reset_state`; otherwise every window starts from an empty state.
    """

    def __init__(self, language_model: LanguageModel, carry_batch_size: int | None = None) -> None:
        super().__init__(name="training_model")
        self._model = [language_model]  # in a list, so that Keras does not track it
        self.network = language_model.layer
        self.carried = []
        if carry_batch_size:
            self.carried = [
                self.add_weight(
                    shape=array.shape,
                    dtype=array.dtype.name,
                    initializer="zeros",
                    trainable=False,
                    name=f"carried_{i}",
                )
                for i, array in enumerate(
                    states.flatten(language_model.initial_state(carry_batch_size))
                )
            ]
        self._loss_metric = keras.metrics.Mean(name="loss")

    @property
    def language_model(self) -> LanguageModel:
        """The model in training."""
        return self._model[0]

    @property
    def metrics(self) -> list:
        return [self._loss_metric]

    def call(self, ids, training=False):
        if not self.carried:
            return self.language_model.read(ids, training=training)[0]
        state = self.language_model.initial_state(tf.shape(ids)[0])
        state = states.unflatten(state, [tf.convert_to_tensor(v) for v in self.carried])
        logits, state = self.language_model.read(ids, state, training)
        for variable, value in zip(self.carried, states.flatten(state), strict=True):
            variable.assign(value)
        return logits

    def train_step(self, data):
        """One update, with dense gradients.

        Returns the mean `loss` so far, the `step_loss` of this batch, and the global
        `gradient_norm` before clipping.

        The gradient of an embedding is sparse, with one row per id in the batch. Keras does not sum
        the rows of equal ids before clipping and squaring, so they are summed here.
        """
        ids, targets = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=ids, y=targets, y_pred=self(ids, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        self.optimizer.apply(gradients, self.trainable_variables)
        self._loss_metric.update_state(loss, sample_weight=tf.shape(ids)[0])
        return {
            "loss": self._loss_metric.result(),
            "step_loss": loss,
            "gradient_norm": tf.linalg.global_norm(gradients),
        }

    def training_state(self) -> dict:
        """State other than the weights that is needed to resume training, by name: optimizer
        variables, dropout seeds, carried state."""
        known = [*self.language_model.weights.values(), *self.metrics_variables]
        known_ids = {id(variable) for variable in known}
        others = [v for v in self.variables if id(v) not in known_ids]
        return {
            **{f"optimizer/{i:04d}": v for i, v in enumerate(self.optimizer.variables)},
            **{f"model/{i:04d}": v for i, v in enumerate(others)},
        }

    def reset_state(self) -> None:
        """Sets the carried state to zero."""
        for variable in self.carried:
            variable.assign(tf.zeros_like(variable))
