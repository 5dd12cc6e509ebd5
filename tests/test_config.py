import dataclasses

import pytest

from shakespeare_gen import config, option_groups
from shakespeare_gen.errors import UsageError


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        (config.ModelConfig, {"units": 0}, "--units: expected at least 1, received 0"),
        (config.ModelConfig, {"dropout": 1.0}, "--dropout: expected less than 1, received 1.0"),
        (
            config.ModelConfig,
            {"cell": "rnn"},
            "--cell: expected one of lstm, gru, simple_rnn, min_gru",
        ),
        (config.ModelConfig, {"units": "9"}, "--units: expected a value of type int"),
        (config.OptimizerConfig, {"learning_rate": float("nan")}, "expected a finite number"),
        (config.OptimizerConfig, {"clip_value": 1.0}, "expected one of them to be 0"),
        (config.OptimizerConfig, {"schedule": "exponential"}, "--final_learning_rate"),
        (config.CorpusConfig, {"test_fraction": 0.96}, "expected a sum less than 1"),
        (config.StartConfig, {"resume": True, "overwrite": True}, "received both"),
        (config.PromptConfig, {"prompt": "a", "prompt_path": "b"}, "received both"),
        (config.WindowConfig, {"carry_state": True, "window_stride": 3}, "--window_stride"),
        (config.SamplingConfig, {"temperature": float("inf")}, "expected a finite number"),
        (config.SamplingConfig, {"top_p": 0.0}, "expected more than 0"),
    ],
)
def test_bad_values_are_refused_by_name(group, options, message):
    with pytest.raises(UsageError, match="--") as error:
        group(**options)
    assert message in str(error.value)


def test_an_unknown_option_is_refused():
    with pytest.raises(UsageError, match="unknown option 'unit'"):
        option_groups.from_options(config.TRAIN_GROUPS, {"unit": 3})


def test_every_flag_of_a_command_has_one_place():
    for groups in (config.TRAIN_GROUPS, config.GENERATE_GROUPS):
        names = [field.name for group in groups for field in dataclasses.fields(group)]
        assert len(names) == len(set(names))


def test_non_defaults_are_what_was_changed():
    assert option_groups.non_defaults(config.ModelConfig(units=7, cell="lstm")) == {"units": 7}
