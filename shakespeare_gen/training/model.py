"""The Keras model that `fit` trains: ids [B, T] -> logits [B, T, V].

Knows nothing about optimizers, files or text.
"""

import keras
import tensorflow as tf

from shakespeare_gen.models import LanguageModel, states


# Until this many steps are done, the moving average forgets the first weights faster.
AVERAGE_WARMUP_STEPS = 10


class TrainingModel(keras.Model):
    """Trains a language model.

    With `carry_batch_size`, the final state of a training batch is the initial state of the next
    one, until `reset_state`; otherwise every window starts from an empty state.

    Args:
      average: a second model of the same spec, whose weights become the moving average of those
        in training; it is the one that is evaluated and saved. None: the trained weights are.
      average_decay: the decay of that average per step.
      weight_dropout: dropout rate of the recurrent kernels, with one mask per batch (DropConnect;
        Merity et al. 2017, arXiv 1708.02182).
    """

    def __init__(
        self,
        language_model: LanguageModel,
        carry_batch_size: int | None = None,
        *,
        average: LanguageModel | None = None,
        average_decay: float = 0.0,
        weight_dropout: float = 0.0,
    ) -> None:
        super().__init__(name="training_model")
        # In a tuple, so that Keras does not track them.
        self._models = (language_model, average or language_model)
        self._average_decay, self._weight_dropout = average_decay, weight_dropout
        self._mask_seeds = keras.random.SeedGenerator() if weight_dropout else None
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
    def trained_model(self) -> LanguageModel:
        """The model whose weights the optimizer updates."""
        return self._models[0]

    @property
    def language_model(self) -> LanguageModel:
        """The model that is evaluated and saved: the average, or the trained model itself."""
        return self._models[1]

    @property
    def metrics(self) -> list:
        return [self._loss_metric]

    def call(self, ids, training=False):
        model = self.trained_model
        if not self.carried:
            return model.read(ids, training=training)[0]
        state = model.initial_state(tf.shape(ids)[0])
        state = states.unflatten(state, [tf.convert_to_tensor(v) for v in self.carried])
        logits, state = model.read(ids, state, training)
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
        dropped = self._drop_weights()
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x=ids, y=targets, y_pred=self(ids, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients = self._restore_weights(dropped, gradients)
        self.optimizer.apply(gradients, self.trainable_variables)
        self._update_average()
        self._loss_metric.update_state(loss, sample_weight=tf.shape(ids)[0])
        return {
            "loss": self._loss_metric.result(),
            "step_loss": loss,
            "gradient_norm": tf.linalg.global_norm(gradients),
        }

    def _drop_weights(self) -> dict[int, tuple]:
        """Sets elements of the recurrent kernels to zero; returns what `_restore_weights` needs."""
        dropped = {}
        for i, variable in enumerate(self.trainable_variables if self._weight_dropout else ()):
            if variable.name == "recurrent_kernel":
                value = tf.convert_to_tensor(variable)
                mask = keras.random.dropout(
                    tf.ones_like(value), self._weight_dropout, seed=self._mask_seeds
                )
                variable.assign(value * mask)
                dropped[i] = value, mask
        return dropped

    def _restore_weights(self, dropped: dict[int, tuple], gradients: list) -> list:
        """Undoes `_drop_weights`; returns the gradients of the weights themselves."""
        for i, (value, mask) in dropped.items():
            self.trainable_variables[i].assign(value)
            gradients[i] *= mask
        return gradients

    def _update_average(self) -> None:
        if self.language_model is self.trained_model:
            return
        steps = tf.cast(tf.convert_to_tensor(self.optimizer.iterations), tf.float32)
        decay = tf.minimum(self._average_decay, steps / (steps + AVERAGE_WARMUP_STEPS))
        trained, average = self.trained_model.weights, self.language_model.weights
        for name, variable in average.items():
            value = tf.convert_to_tensor(trained[name])
            variable.assign(value + decay * (tf.convert_to_tensor(variable) - value))

    def training_state(self) -> dict:
        """State other than the saved weights that is needed to resume training, by name: optimizer
        variables, dropout seeds, carried state, and with an average the weights in training."""
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
