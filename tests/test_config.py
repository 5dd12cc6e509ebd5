import dataclasses

import pytest

from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import fields, groups


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        (groups.ModelOptions, {"units": 0}, "--units: expected at least 1, received 0"),
        (groups.ModelOptions, {"dropout": 1.0}, "--dropout: expected less than 1, received 1.0"),
        (
            groups.ModelOptions,
            {"cell": "rnn"},
            "--cell: expected one of lstm, gru, simple_rnn, min_gru",
        ),
        (groups.ModelOptions, {"units": "9"}, "--units: expected a value of type int"),
        (groups.OptimizerOptions, {"learning_rate": float("nan")}, "expected a finite number"),
        (groups.OptimizerOptions, {"clip_value": 1.0}, "expected one of them to be 0"),
        (groups.OptimizerOptions, {"schedule": "exponential"}, "--final_learning_rate"),
        (groups.CorpusOptions, {"test_fraction": 0.96}, "expected a sum less than 1"),
        (groups.StartOptions, {"resume": True, "overwrite": True}, "received both"),
        (groups.PromptOptions, {"prompt": "a", "prompt_path": "b"}, "received both"),
        (groups.WindowOptions, {"carry_state": True, "window_stride": 3}, "--window_stride"),
        (groups.SamplingOptions, {"temperature": float("inf")}, "expected a finite number"),
        (groups.SamplingOptions, {"top_p": 0.0}, "expected more than 0"),
    ],
)
def test_bad_values_are_refused_by_name(group, options, message):
    with pytest.raises(UsageError, match="--") as error:
        group(**options)
    assert message in str(error.value)


def test_an_unknown_option_is_refused():
    with pytest.raises(UsageError, match="unknown option 'unit'"):
        fields.from_options(groups.TRAIN_GROUPS, {"unit": 3})


def test_every_flag_of_a_command_has_one_place():
    for every in (groups.TRAIN_GROUPS, groups.GENERATE_GROUPS):
        names = [field.name for group in every for field in dataclasses.fields(group)]
        assert len(names) == len(set(names))


def test_non_defaults_are_what_was_changed():
    assert fields.non_defaults(groups.ModelOptions(units=7, cell="lstm")) == {"units": 7}
