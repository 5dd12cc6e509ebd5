"""What acts on weights and targets in training: dropout of weights, teachers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import shakespeare_gen
from shakespeare_gen import models
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.models.ensemble import Ensemble
from shakespeare_gen.models.recurrent import RecurrentOptions, RecurrentSpec
from shakespeare_gen.runs import open_run, train_lines
from shakespeare_gen.training.model import Regularization, TrainingModel
from tests import fake_runs

V, UNITS = 7, 12


def model_of(seed=0, **options):
    keras.utils.set_random_seed(seed)
    options = RecurrentOptions(**{"units": UNITS, "embedding_size": 5, **options})
    return models.build(RecurrentSpec(V, options))


def compiled(model, learning_rate=0.5, **regularization):
    training_model = TrainingModel(model, None, Regularization(**regularization))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    training_model.compile(keras.optimizers.SGD(learning_rate), loss)
    return training_model


def batch(seed=0):
    ids = np.random.default_rng(seed).integers(0, V, (4, 9)).astype(np.int32)
    return ids[:, :-1], ids[:, 1:]


def arrays_of(model):
    return {name: np.array(weight) for name, weight in model.weights.items()}


def test_weight_dropout_updates_the_kept_weights_only():
    """Without decay, an SGD step leaves the dropped elements of the recurrent kernel as they
    were, and scales no weight."""
    model = model_of()
    before = arrays_of(model)
    compiled(model, weight_dropout=0.5).train_step(batch())
    after = arrays_of(model)
    is_kept = after["lstm_1/recurrent_kernel"] != before["lstm_1/recurrent_kernel"]
    # 576 elements: 5 standard deviations are 0.1. A false alarm in 2 million runs.
    assert abs(is_kept.mean() - 0.5) < 0.1
    assert (after["lstm_1/kernel"] != before["lstm_1/kernel"]).mean() > 0.9


def test_weight_dropout_needs_a_recurrent_kernel():
    with pytest.raises(UsageError, match="weight_dropout: expected 0 with `cell=min_gru`"):
        RecurrentOptions(cell="min_gru", weight_dropout=0.1)
    assert RecurrentOptions(cell="gru", weight_dropout=0.1).weight_dropout == 0.1


def test_weight_dropout_is_off_outside_training():
    model = model_of()
    ids = batch()[0]
    expected, _ = model.read(ids)
    training_model = compiled(model, learning_rate=0.0, weight_dropout=0.5)
    training_model.train_step(batch())
    np.testing.assert_array_equal(training_model(ids), expected)
    np.testing.assert_array_equal(model.read(ids)[0], expected)


@pytest.mark.parametrize("num_teachers", [1, 2])
def test_a_model_that_agrees_with_its_teachers_stays(num_teachers):
    model, teacher = model_of(1), model_of(1)
    before = arrays_of(model)
    if num_teachers > 1:
        import tensorflow.experimental.numpy as tnp

        teacher = Ensemble([teacher, model_of(1)], tnp)
    compiled(model, teacher=teacher, teacher_weight=1.0).train_step(batch())
    for name, weight in arrays_of(model).items():
        np.testing.assert_allclose(weight, before[name], atol=1e-6)


def test_a_student_comes_closer_to_its_teacher_and_the_teacher_stays():
    model, teacher = model_of(1), model_of(2)
    teacher.weights["logits/bias"].assign(np.linspace(-2, 2, V))
    before, ids = arrays_of(teacher), batch()[0]
    expected = np.asarray(teacher.read(ids)[0])
    training_model = compiled(model, teacher=teacher, teacher_weight=1.0)

    def distance():
        found, goal = (keras.ops.log_softmax(x) for x in (model.read(ids)[0], expected))
        return float(keras.ops.mean(keras.ops.exp(goal) * (goal - found)))

    first = distance()
    train_step = tf.function(training_model.train_step, autograph=False)
    for _ in range(30):
        train_step(batch())
    assert distance() < first / 5
    for name, weight in arrays_of(teacher).items():
        np.testing.assert_array_equal(weight, before[name])


def test_the_loss_is_that_of_the_text_whatever_the_teacher_says():
    alone = compiled(model_of(1)).train_step(batch())
    teacher = model_of(2)
    taught = compiled(model_of(1), teacher=teacher, teacher_weight=0.7)
    assert taught.train_step(batch())["loss"] == alone["loss"]


def test_a_teacher_with_other_tokens_is_rejected(small_text, tmp_path):
    fake_runs.write_run(tmp_path / "teacher", (1,), text="abc\n" * 20)
    with pytest.raises(UserError, match="teachers=.*expected a run with the tokenizer of the corp"):
        shakespeare_gen.train_model(
            text=small_text, run_dir=tmp_path / "run", teachers=[tmp_path / "teacher"]
        )
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_has_seen_the_held_out_text_is_rejected(small_text, tmp_path):
    fake_runs.write_run(tmp_path / "teacher", (1,), text=small_text)
    folder = open_run(tmp_path / "teacher").folder
    train_lines.write(folder, train_lines.LineSketch.of([small_text]))
    with pytest.raises(UserError, match="the validation text: expected a text that .* was not"):
        shakespeare_gen.train_model(
            text=small_text, run_dir=tmp_path / "run", teachers=[tmp_path / "teacher"]
        )
