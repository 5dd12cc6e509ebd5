"""What must hold on a GPU. All tests are skipped where there is none.

pytest -m gpu
"""

import numpy as np
import pytest
import tensorflow as tf

import shakespeare_gen
from shakespeare_gen import models
from shakespeare_gen.models import ModelOptions
from shakespeare_gen.models.layers import minimal
from shakespeare_gen.options import Options
from shakespeare_gen.runs import checkpoints
from shakespeare_gen.system import devices

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not devices.has_gpu(), reason="this machine has no GPU"),
]

MODELS = {
    "lstm": {"cell": "lstm", "units": 64},
    "gru": {"cell": "gru", "units": 64},
    "min_gru": {"cell": "min_gru", "units": 64},
    "transformer": {"model": "transformer", "width": 64, "num_heads": 4, "num_layers": 2},
}
TRAINING = {
    "window_chars": 32,
    "batch_size": 16,
    "epochs": 2,
    "precision": "float32",
    "schedule": "constant",
    "sample_chars": 40,
}


def built(name):
    options = Options.parse((ModelOptions, *models.groups()), MODELS[name])
    return models.build(models.spec_of(65, options))


@pytest.fixture
def trained(small_text, tmp_path):
    def train(name, folder="run", **options):
        given = {**TRAINING, **MODELS[name], **options}
        return shakespeare_gen.train_model(text=small_text, run_dir=tmp_path / folder, **given)

    return train


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_gradients_are_those_of_a_cpu(name):
    """Of a transformer with fused attention, too. GPUs may round products to TF32."""
    tf.config.experimental.enable_tensor_float_32_execution(False)
    ids = tf.random.stateless_uniform((8, 64), (1, 2), 0, 65, tf.int32)
    found = []
    model = built(name)
    for device in ("/GPU:0", "/CPU:0"):
        with tf.device(device), tf.GradientTape() as tape:
            logits, _ = model.read(ids, training=True)
            loss = tf.reduce_mean(logits**2)
        gradients = tape.gradient(loss, model.layer.trainable_variables)
        found.append([np.asarray(tf.convert_to_tensor(x)) for x in (logits, *gradients)])
    for on_gpu, on_cpu in zip(*found, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


def test_keras_hands_an_lstm_to_cudnn():
    model = built("lstm")
    assert model.facts()["kernel"] == "keras (cuDNN)"
    read = tf.function(lambda ids: model.read(ids)[0])
    graph = read.get_concrete_function(tf.zeros((2, 8), tf.int32)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    assert any(node.op.startswith("CudnnRNN") for node in nodes)


@pytest.mark.parametrize("name", MODELS)
def test_training_resumes_as_if_it_had_not_been_stopped(name, trained, small_text, tmp_path):
    """Within rounding: a GPU adds up in no fixed order."""
    whole = trained(name, "whole")
    trained(name, "run", epochs=1)
    resumed = shakespeare_gen.train_model(
        text=small_text, run_dir=tmp_path / "run", resume=True, epochs=2
    )
    one, other = (checkpoints.read(run, "last") for run in (whole, resumed))
    for weight, expected in one.weights.items():
        np.testing.assert_allclose(other.weights[weight], expected, atol=1e-3, err_msg=weight)


@pytest.mark.parametrize("name", MODELS)
def test_generated_text_is_that_of_numpy(name, trained):
    run = trained(name)
    texts = [
        shakespeare_gen.load_generator(run, engine=engine)
        .generate("SPEAKER", length=60, temperature=0.0)[0]
        .text
        for engine in ("tensorflow", "numpy")
    ]
    assert texts[0] == texts[1]


def test_the_parallel_scan_equals_the_sequential_one():
    decay = tf.random.stateless_uniform((512, 8, 64), (1, 2))
    new, h = tf.random.stateless_normal((512, 8, 64), (3, 4)), tf.zeros((8, 64))
    with tf.device("/GPU:0"):
        parallel = minimal.parallel_scan(decay, new, h)
    with tf.device("/CPU:0"):
        sequential = minimal.sequential_scan(decay, new, h)
    np.testing.assert_allclose(parallel, sequential, rtol=1e-4, atol=1e-4)
