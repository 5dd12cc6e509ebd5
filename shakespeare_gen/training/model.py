"""The Keras model that `fit` trains: ids [B, T] -> logits [B, T, V].

Knows nothing about optimizers, files or text.
"""

import dataclasses

import keras
import tensorflow as tf

from shakespeare_gen.models import LanguageModel, states


@dataclasses.dataclass(frozen=True)
class Regularization:
    """What acts on the weights and the loss in training, besides the optimizer.

    Attributes:
      weight_dropout: dropout rate of the recurrent kernels, with one mask per batch (DropConnect;
        Merity et al. 2017, arXiv 1708.02182).
      teacher: a model whose probabilities are targets too (Hinton et al. 2015, arXiv 1503.02531);
        None: there is none.
      teacher_weight: the share of those targets in the loss.
    """

    weight_dropout: float = 0.0
    teacher: LanguageModel | None = None
    teacher_weight: float = 0.0


class TrainingModel(keras.Model):
    """Trains a language model.

    With `carry_batch_size`, the final state of a training batch is the initial state of the next
    one, until `reset_state`; otherwise every window starts from an empty state.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        carry_batch_size: int | None = None,
        regularization: Regularization | None = None,
    ) -> None:
        super().__init__(name="training_model")
        self._regularization = regularization = regularization or Regularization()
        self.network = language_model.layer
        self._student = self._reader(language_model, carry_batch_size)
        self._teacher = None
        if regularization.teacher:
            self._teacher = self._reader(regularization.teacher, carry_batch_size)
        self._mask_seeds = keras.random.SeedGenerator() if regularization.weight_dropout else None
        self._loss_metric = keras.metrics.Mean(name="loss")

    def _reader(self, model: LanguageModel, carry_batch_size: int | None) -> "_Reader":
        arrays = states.flatten(model.initial_state(carry_batch_size)) if carry_batch_size else []
        carried = [
            self.add_weight(
                shape=array.shape,
                dtype=array.dtype.name,
                initializer="zeros",
                trainable=False,
                name=f"carried_{i}",
            )
            for i, array in enumerate(arrays)
        ]
        return _Reader(model, carried)

    @property
    def language_model(self) -> LanguageModel:
        """The model in training."""
        return self._student.model

    @property
    def metrics(self) -> list:
        return [self._loss_metric]

    def call(self, ids, training=False):
        return self._student(ids, training)

    def train_step(self, data):
        """One update, with dense gradients.

        Returns the mean `loss` so far, the `step_loss` of this batch, and the `gradient_norm`
        before clipping: the global one, and the `gradient_norms` of the variables.

        The gradient of an embedding is sparse, with one row per id in the batch. Keras does not sum
        the rows of equal ids before clipping and squaring, so they are summed here.
        """
        ids, targets = data
        dropped = self._drop_weights()
        with tf.GradientTape() as tape:
            logits = self(ids, training=True)
            loss = self.compute_loss(x=ids, y=targets, y_pred=logits)
            objective = self._with_teacher(loss, ids, logits)
        gradients = tape.gradient(objective, self.trainable_variables)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        gradients = self._restore_weights(dropped, gradients)
        self.optimizer.apply(gradients, self.trainable_variables)
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        self._loss_metric.update_state(loss, sample_weight=tf.shape(ids)[0])
        return {
            "loss": self._loss_metric.result(),
            "step_loss": loss,
            "gradient_norm": tf.norm(norms),
            "gradient_norms": norms,
        }

    def _with_teacher(self, loss, ids, logits):
        """`loss`, mixed with the cross-entropy between the teacher's probabilities and ours."""
        if self._teacher is None:
            return loss
        probabilities = tf.nn.softmax(self._teacher(ids, training=False))
        soft = tf.nn.softmax_cross_entropy_with_logits(probabilities, logits)
        weight = self._regularization.teacher_weight
        return (1 - weight) * loss + weight * tf.reduce_mean(soft)

    def _drop_weights(self) -> dict[int, tuple]:
        """Sets elements of the recurrent kernels to zero; returns what `_restore_weights` needs."""
        dropped, rate = {}, self._regularization.weight_dropout
        for i, variable in enumerate(self.trainable_variables if rate else ()):
            if variable.name == "recurrent_kernel":
                value = tf.convert_to_tensor(variable)
                mask = keras.random.dropout(tf.ones_like(value), rate, seed=self._mask_seeds)
                variable.assign(value * mask)
                dropped[i] = value, mask
        return dropped

    def _restore_weights(self, dropped: dict[int, tuple], gradients: list) -> list:
        """Undoes `_drop_weights`; returns the gradients of the weights themselves."""
        for i, (value, mask) in dropped.items():
            self.trainable_variables[i].assign(value)
            gradients[i] *= mask
        return gradients

    def training_state(self) -> dict:
        """State other than the weights that is needed to resume training, by name: optimizer
        variables, dropout seeds, carried states."""
        known = [*self.language_model.weights.values(), *self.metrics_variables]
        known_ids = {id(variable) for variable in known}
        others = [v for v in self.variables if id(v) not in known_ids]
        return {
            **{f"optimizer/{i:04d}": v for i, v in enumerate(self.optimizer.variables)},
            **{f"model/{i:04d}": v for i, v in enumerate(others)},
        }

    def reset_state(self) -> None:
        """Sets the carried state to zero."""
        for reader in (self._student, self._teacher):
            for variable in reader.carried if reader else ():
                variable.assign(tf.zeros_like(variable))


class _Reader:
    """Reads batches with a model whose state is carried from one to the next in `carried`; if
    that is empty, each batch starts from an empty state."""

    def __init__(self, model: LanguageModel, carried: list) -> None:
        self.model, self.carried = model, carried

    def __call__(self, ids, training: bool):
        if not self.carried:
            return self.model.read(ids, training=training)[0]
        state = self.model.initial_state(tf.shape(ids)[0])
        state = states.unflatten(state, [tf.convert_to_tensor(v) for v in self.carried])
        logits, state = self.model.read(ids, state, training)
        for variable, value in zip(self.carried, states.flatten(state), strict=True):
            variable.assign(value)
        return logits
