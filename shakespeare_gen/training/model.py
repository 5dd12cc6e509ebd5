"""The Keras model that `fit` trains: ids [B, T] -> logits [B, T, V].

Knows nothing about optimizers, files or text.
"""

import dataclasses
import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from shakespeare_gen.models import LanguageModel, states
from shakespeare_gen.training.workers.replicas import Replicas, WholeRows


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
    one, until `reset_state`; otherwise every window starts from an empty state. With `replicas`,
    a batch has the rows that this process reads, and each replica reads some of them.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        carry_batch_size: int | None = None,
        regularization: Regularization | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        super().__init__(name="training_model")
        self.replicas = replicas
        self._regularization = regularization = regularization or Regularization()
        self.network = language_model.layer
        self._student = self._reader(language_model, carry_batch_size)
        self._teacher = None
        if regularization.teacher:
            self._teacher = self._reader(regularization.teacher, carry_batch_size)
        self._mask_seeds = keras.random.SeedGenerator() if regularization.weight_dropout else None
        self._loss_metric = keras.metrics.Mean(name="loss")

    def _reader(self, model: LanguageModel, carry_batch_size: int | None) -> "_Reader":
        if not carry_batch_size:
            return _Reader(model, [[]] * (self.replicas.num_here if self.replicas else 1))
        if self.replicas is None:
            return _Reader(model, [self._carried(model, carry_batch_size)])
        every = map(self.replicas.rows, range(self.replicas.num_here))
        return _Reader(model, [self._carried(model, rows.stop - rows.start) for rows in every])

    def _carried(self, model: LanguageModel, num_rows: int) -> list:
        return [
            self.add_weight(
                shape=array.shape,
                dtype=array.dtype.name,
                initializer="zeros",
                trainable=False,
                name=f"carried_{i}",
            )
            for i, array in enumerate(states.flatten(model.initial_state(num_rows)))
        ]

    @property
    def language_model(self) -> LanguageModel:
        """The model in training."""
        return self._student.model

    @property
    def metrics(self) -> list:
        return [self._loss_metric]

    def call(self, ids, training=False, replica=0):
        return self._student(ids, training, replica)

    def train_step(self, data):
        """One update, with dense gradients.

        Returns the mean `loss` so far, the `step_loss` of this batch, and the `gradient_norm`
        before clipping: the global one, and the `gradient_norms` of the variables; with replicas,
        also the `requests` of workers.

        The gradient of an embedding is sparse, with one row per id in the batch. Keras does not sum
        the rows of equal ids before clipping and squaring, so they are summed here.
        """
        ids, targets = data
        dropped, requests = self._drop_weights(), {}
        if self.replicas is None:
            loss, gradients = self._gradients(ids, targets)
            num_rows = tf.shape(ids)[0]
        else:
            loss, gradients, requests["requests"] = self._shared(self.replicas, ids, targets)
            num_rows = self.replicas.batch_size
        gradients = self._restore_weights(dropped, gradients)
        self.optimizer.apply(gradients, self.trainable_variables)
        norms = tf.stack([tf.norm(gradient) for gradient in gradients])
        self._loss_metric.update_state(loss, sample_weight=num_rows)
        return {
            "loss": self._loss_metric.result(),
            "step_loss": loss,
            "gradient_norm": tf.norm(norms),
            "gradient_norms": norms,
            **requests,
        }

    def _gradients(self, ids, targets, replica: int = 0) -> tuple:
        """The mean loss of some rows, and its gradients."""
        with tf.GradientTape() as tape:
            logits = self(ids, training=True, replica=replica)
            loss = self.compute_loss(x=ids, y=targets, y_pred=logits)
            if self.replicas:
                loss *= self.replicas.num  # by which Keras divides
            objective = self._with_teacher(loss, ids, logits, replica)
        gradients = tape.gradient(objective, self.trainable_variables)
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _shared(self, replicas: Replicas, ids, targets) -> tuple:
        """The mean loss of a whole batch, its gradients, and the sum of the requests of workers,
        in one collective."""

        def flat(replica: int):
            rows = replicas.rows(replica)
            loss, gradients = self._gradients(ids[rows], targets[rows], replica)
            parts = [tf.reshape(part, [-1]) for part in (loss, *gradients)]
            mean = replicas.share(replica) * tf.concat(parts, 0)
            return tf.concat([mean, replicas.requests(replica)], 0)

        shapes = [(), *(variable.shape for variable in self.trainable_variables)]
        sizes = [math.prod(shape) for shape in shapes]
        *parts, requests = tf.split(replicas.sum(flat), [*sizes, -1])
        loss, *gradients = [tf.reshape(p, shape) for p, shape in zip(parts, shapes, strict=True)]
        return loss, gradients, requests

    def _with_teacher(self, loss, ids, logits, replica: int):
        """`loss`, mixed with the cross-entropy between the teacher's probabilities and ours."""
        if self._teacher is None:
            return loss
        probabilities = tf.nn.softmax(self._teacher(ids, False, replica))
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
        variables, dropout seeds, carried states of all rows."""
        known = [*self.language_model.weights.values(), *self.metrics_variables]
        known_ids = {id(variable) for variable in known}
        whole = self._whole_rows()
        others = [whole.get(id(v), v) for v in self.variables]
        others = [v for v in others if v is not None and id(v) not in known_ids]
        return {
            **{f"optimizer/{i:04d}": v for i, v in enumerate(self.optimizer.variables)},
            **{f"model/{i:04d}": v for i, v in enumerate(others)},
        }

    def _whole_rows(self) -> dict[int, WholeRows | None]:
        """Instead of the first part of a carried state, all of its rows; instead of others, None;
        by the id of the part."""
        found: dict[int, WholeRows | None] = {}
        if self.replicas is None:
            return found
        for reader in (self._student, self._teacher):
            for parts in zip(*reader.carried, strict=True) if reader else ():
                found |= {id(part): None for part in parts}
                found[id(parts[0])] = WholeRows(parts, self.replicas)
        return found

    def offset_dropout(self, number: int) -> None:
        """Changes the random numbers of dropout, so that workers drop different elements.

        Those of `weight_dropout` stay: all workers train with the same weights.
        """
        kept = self._mask_seeds.state if self._mask_seeds else None
        for variable in self.variables:
            if variable.name == "seed_generator_state" and variable is not kept:
                variable.assign(np.asarray(variable) + np.array([number, 0], variable.dtype))

    def reset_state(self) -> None:
        """Sets the carried state to zero."""
        for reader in (self._student, self._teacher):
            for variable in itertools.chain(*reader.carried) if reader else ():
                variable.assign(tf.zeros_like(variable))


class _Reader:
    """Reads batches with a model whose state is carried from one to the next, in the variables
    `carried` of each replica; if there are none, each batch starts from an empty state."""

    def __init__(self, model: LanguageModel, carried: list[list]) -> None:
        self.model, self.carried = model, carried

    def __call__(self, ids, training: bool, replica: int):
        carried = self.carried[replica]
        if not carried:
            return self.model.read(ids, training=training)[0]
        state = self.model.initial_state(tf.shape(ids)[0])
        state = states.unflatten(state, [tf.convert_to_tensor(v) for v in carried])
        logits, state = self.model.read(ids, state, training)
        for variable, value in zip(carried, states.flatten(state), strict=True):
            variable.assign(value)
        return logits
