import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shakespeare_gen.data import windows
from shakespeare_gen.errors import UsageError, UserError
from shakespeare_gen.options.groups import WindowOptions

ids_of = np.arange  # every position has its own id, which identifies the position of a window


def planned(num_tokens, window_chars, **options):
    return windows.plan(num_tokens, WindowOptions(window_chars=window_chars, **options))


def epoch(plan, seed=0, number=0):
    first = number * plan.steps_per_epoch
    data = windows.batches(ids_of(plan.num_tokens), plan, seed, first, plan.steps_per_epoch)
    return list(data.as_numpy_iterator())


plans = st.builds(
    planned,
    num_tokens=st.integers(60, 400),
    window_chars=st.integers(1, 20),
    window_stride=st.integers(0, 30),
    batch_size=st.integers(1, 9),
    random_offset=st.booleans(),
)


@given(plans, st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_targets_are_the_inputs_shifted_by_one(plan, number):
    for inputs, targets in epoch(plan, number=number):
        assert inputs.shape == targets.shape == (plan.batch_size, plan.window_chars)
        np.testing.assert_array_equal(targets, (inputs + 1) % plan.num_tokens)
        np.testing.assert_array_equal(np.diff(inputs, axis=1) % plan.num_tokens, 1)


@given(st.integers(30, 300), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_an_epoch_visits_every_window_once(num_tokens, window_chars):
    """Sorted and joined, the windows of an epoch give the text."""
    plan = planned(num_tokens, window_chars, batch_size=1, random_offset=False)
    rows = sorted(tuple(inputs[0]) for inputs, _ in epoch(plan))
    joined = np.concatenate(rows)
    np.testing.assert_array_equal(joined, np.arange(len(joined)))
    assert num_tokens - 1 - len(joined) < window_chars


@given(st.integers(40, 300), st.integers(1, 10), st.integers(1, 5), st.booleans())
@settings(max_examples=25, deadline=None)
def test_streams_continue_from_batch_to_batch(num_tokens, window_chars, batch_size, random_offset):
    plan = planned(
        num_tokens,
        window_chars,
        batch_size=batch_size,
        carry_state=True,
        random_offset=random_offset,
    )
    streams = np.concatenate([inputs for inputs, _ in epoch(plan)], axis=1)
    np.testing.assert_array_equal(np.diff(streams, axis=1) % num_tokens, 1)
    assert len(np.unique(streams)) == streams.size  # no token twice in an epoch


def test_overlapping_windows_start_a_stride_apart():
    plan = planned(100, 10, window_stride=3, batch_size=1, random_offset=False)
    starts = sorted(int(inputs[0, 0]) for inputs, _ in epoch(plan))
    assert starts == list(range(0, 90, 3))


def test_a_batch_is_a_pure_function_of_seed_and_step():
    plan = planned(500, 10, batch_size=4)
    run = list(windows.batches(ids_of(500), plan, 7, 0, 30).as_numpy_iterator())
    tail = list(windows.batches(ids_of(500), plan, 7, 20, 10).as_numpy_iterator())
    for (inputs, _), (again, _) in zip(run[20:], tail, strict=True):
        np.testing.assert_array_equal(inputs, again)
    other = next(windows.batches(ids_of(500), plan, 8, 0, 1).as_numpy_iterator())
    assert not np.array_equal(other[0], run[0][0])


def test_epochs_differ_in_order_and_offset():
    plan = planned(500, 10, batch_size=4)
    assert not np.array_equal(epoch(plan, number=0)[0][0], epoch(plan, number=1)[0][0])


def test_a_text_shorter_than_a_window_is_rejected_with_both_lengths():
    with pytest.raises(UserError, match="at least 101 tokens .* received 100"):
        planned(100, 100)


def test_one_window_and_one_token_are_enough():
    plan = planned(11, 10, batch_size=64)
    assert (plan.batch_size, plan.steps_per_epoch) == (1, 1)
    assert len(epoch(plan)) == 1


def test_steps_per_epoch_limits_the_epoch():
    assert planned(1000, 10, batch_size=2, steps_per_epoch=5).steps_per_epoch == 5
    assert planned(1000, 10, batch_size=2, steps_per_epoch=500).steps_per_epoch == 49
    assert planned(1000, 10, batch_size=2, steps_per_epoch=5).steps_per_pass == 49


@pytest.mark.parametrize(
    ("options", "starts"),
    [
        ({"batch_size": 3}, {0: [93, 43, 23], 1: [83, 73, 63], 7: [45, 95, 15]}),
        (
            {"batch_size": 2, "window_stride": 7, "random_offset": False},
            {0: [77, 0], 1: [56, 28], 7: [77, 28]},
        ),
        (
            {"batch_size": 3, "carry_state": True},
            {0: [43, 76, 9], 1: [53, 86, 19], 7: [25, 58, 91]},
        ),
    ],
)
def test_batches_never_change_between_versions(options, starts):
    """A run that is resumed years later must read the same batches."""
    plan = planned(100, 10, **options)
    for step, expected in starts.items():
        [(inputs, _)] = windows.batches(ids_of(100), plan, 5, step, 1).as_numpy_iterator()
        assert inputs[:, 0].tolist() == expected


def windows_of(plan, seed, number):
    """The starts of all windows of an epoch."""
    first = number * plan.steps_per_epoch
    steps = range(first, first + plan.steps_per_epoch)
    return sorted(int(s) for step in steps for s in windows.window_starts(plan, seed, step))


def test_a_subset_of_the_windows_is_the_same_in_every_epoch():
    plan = planned(2000, 10, batch_size=20, num_windows=60)
    chosen = windows_of(plan, 0, 0)
    assert len(set(chosen)) == 60
    assert all(start % 10 == 0 for start in chosen)  # without a random offset
    assert chosen == windows_of(plan, 0, 1) != windows_of(plan, 1, 0)
    assert min(chosen) < 500  # from the whole text
    assert max(chosen) > 1500


def test_a_subset_is_read_in_another_order_in_each_epoch():
    plan = planned(2000, 10, batch_size=60, num_windows=60)
    first, second = (list(map(int, windows.window_starts(plan, 0, step))) for step in (0, 1))
    assert first != second


def test_all_windows_are_no_subset():
    whole = planned(2000, 10, batch_size=5, random_offset=False)
    same = planned(2000, 10, batch_size=5, num_windows=whole.num_windows)
    assert same == whole


def test_more_windows_than_the_text_has_are_rejected():
    with pytest.raises(UserError, match="num_windows: expected at most 199, .* received 200"):
        planned(2000, 10, num_windows=200)
    with pytest.raises(UsageError, match="num_windows: expected 0 with `carry_state`"):
        planned(2000, 10, num_windows=3, carry_state=True)
