"""Checkpoints are written whole or not at all, and read as data that nobody is trusted for."""

import json
import os
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from shakespeare_gen import runs
from shakespeare_gen.errors import UserError
from shakespeare_gen.models import recurrent, specs
from shakespeare_gen.options.groups import CELLS
from shakespeare_gen.runs import checkpoints, store, tensors
from shakespeare_gen.system import storage
from tests.conftest import REPOSITORY


@pytest.fixture
def run(abab_run, tmp_path):
    """A copy of a finished run, with one checkpoint."""
    copy = runs.Run(shutil.copytree(abab_run.path, tmp_path / "run"))
    last = store.names(copy.checkpoints)[-1]
    state = json.loads((copy.checkpoints / last / "state.json").read_text("utf-8"))
    store.prune(copy.checkpoints, {state["progress"]["best_checkpoint"]})
    return copy


def only_checkpoint(run):
    [name] = store.names(run.checkpoints)
    return run.checkpoints / name


def reseal(place):
    """Makes the manifest say what is there, as somebody hostile would."""
    names = ["weights.safetensors", "training.safetensors", "state.json"]
    files = {name: (place / name).read_bytes() for name in names}
    manifest = storage.to_json(store._manifest(files))
    (place / "manifest.json").write_bytes(manifest)


# Shapes


@pytest.mark.parametrize("cell", CELLS)
def test_the_shapes_of_weights_are_those_that_are_built(cell):
    options = {"cell": cell, "units": 6, "num_layers": 3, "embedding_size": 4, "residual": True}
    network = recurrent.build(9, **options)
    built = {name: tuple(w.shape) for name, w in recurrent.weights_of(network).items()}
    shapes = specs.weight_shapes(9, **options)
    assert shapes == built
    assert specs.num_parameters(shapes) == network.count_params()


def test_a_model_beyond_measure_is_refused_before_it_is_built():
    with pytest.raises(UserError, match="expected at most 1,000,000,000 parameters, received"):
        specs.weight_shapes(65, "lstm", units=16384, num_layers=64, embedding_size=64)


# Damage


def read(run):
    """Reads everything, as a resumed training does."""
    return checkpoints._read(run, "last")


def test_every_flipped_bit_and_every_cut_is_detected(run):
    """200 bits and 50 cuts of each file of a checkpoint and of the two beside it."""
    place = only_checkpoint(run)
    files = [*sorted(place.iterdir()), run.config_path, run.vocabulary_path]
    assert len(files) == 6
    chance = random.Random(0)

    def damaged(good):
        for _ in range(200):
            bad = bytearray(good)
            bad[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
            yield bytes(bad)
        for number in range(50):  # the last byte is the one that is missed most easily
            yield good[: -1 if number == 0 else chance.randrange(len(good))]

    read(run)
    for path in files:
        good = path.read_bytes()
        for bad in damaged(good):
            path.write_bytes(bad)
            with pytest.raises(UserError):
                read(run)
        path.write_bytes(good)
    read(run)


def test_a_damaged_checkpoint_is_named_and_passed_over(run, caplog):
    place = only_checkpoint(run)
    later = shutil.copytree(place, run.checkpoints / "step-00009999")
    data = bytearray((later / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (later / "weights.safetensors").write_bytes(data)
    assert checkpoints.read(run, "last").place == place
    assert "step-00009999 is damaged and passed over: weights.safetensors is not" in caplog.text


def test_a_damaged_best_checkpoint_gives_way_to_the_last(run, caplog):
    place = only_checkpoint(run)
    shutil.copytree(place, run.checkpoints / "step-00009999")
    (place / "weights.safetensors").unlink()
    assert checkpoints.read(run, "best").place.name == "step-00009999"
    assert f"{place.name} is damaged and passed over" in caplog.text


# Saving


def test_a_whole_checkpoint_is_never_written_again_and_a_damaged_one_is(tmp_path):
    files = {"a.json": b"one", "b.json": b"two"}
    place = store.save(tmp_path, "step-00000001", files)
    before = os.stat(place / "a.json").st_ino
    store.save(tmp_path, "step-00000001", files)
    assert os.stat(place / "a.json").st_ino == before
    (place / "a.json").write_bytes(b"0ne")
    store.save(tmp_path, "step-00000001", files)
    assert store.find_damage(place, {"a.json": 3, "b.json": 3}) is None


def test_steps_are_in_the_order_of_their_numbers(tmp_path):
    names = ["step-00000007", "step-00000100", "step-00000100-epoch-0001", "step-100000000"]
    for name in reversed(names):
        (tmp_path / name).mkdir()
    (tmp_path / ".step-00000200.partial").mkdir()
    (tmp_path / "step-1").mkdir()
    assert store.names(tmp_path) == names


# Hostile files: each changes a run folder; loading must end in one line.


def write_json(path, text):
    path.write_text(text, encoding="utf-8")


def edit_config(run, group="model", **options):
    value = json.loads(run.config_path.read_text("utf-8"))
    value.pop("sha256")
    value[group] |= options
    run.config_path.write_bytes(storage.to_json(storage.sealed(value)))


def edit_weights(run, header=None, header_bytes=None, data=b""):
    header_bytes = header_bytes if header_bytes is not None else json.dumps(header).encode()
    place = only_checkpoint(run)
    size = len(header_bytes).to_bytes(8, "little")
    (place / "weights.safetensors").write_bytes(size + header_bytes + data)
    reseal(place)


def edit_state(run, part, **values):
    path = only_checkpoint(run) / "state.json"
    state = json.loads(path.read_text("utf-8"))
    state[part] |= values
    path.write_bytes(storage.to_json(state))
    reseal(only_checkpoint(run))


def weights_header(run):
    data = (only_checkpoint(run) / "weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def header_that_is_giant(run):
    path = only_checkpoint(run) / "weights.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    reseal(only_checkpoint(run))


def header_of_megabytes(run):
    edit_weights(run, header_bytes=b'{"a":"' + b"x" * (64 << 20) + b'"}')


def shape_bomb(run):
    header, data = weights_header(run)
    header["logits/kernel"]["shape"] = [1 << 40, 1 << 20]
    edit_weights(run, header, data=data)


def other_type(run):
    header, data = weights_header(run)
    header["logits/bias"]["dtype"] = "I32"
    edit_weights(run, header, data=data)


def overlapping_tensors(run):
    header, data = weights_header(run)
    header["logits/bias"]["data_offsets"] = [0, 12]
    edit_weights(run, header, data=data)


def tensor_too_many(run):
    header, data = weights_header(run)
    header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    edit_weights(run, header, data=data)


def duplicate_tensors(run):
    _, data = weights_header(run)
    entry = b'"logits/bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}'
    edit_weights(run, header_bytes=b"{" + entry + b"," + entry + b"}", data=data)


def deep_header(run):
    edit_weights(run, header_bytes=b'{"a":' * 900 + b"1" + b"}" * 900)


def duplicate_keys(run):
    text = run.config_path.read_text("utf-8")
    write_json(run.config_path, text.replace('"units": 16', '"units": 16, "units": 16'))


def deep_config(run):
    write_json(run.config_path, '{"model":' + "[" * 30_000 + "]" * 30_000 + "}")


def deep_vocabulary(run):
    write_json(run.vocabulary_path, '{"characters":' + "[" * 2_000_000 + "]" * 2_000_000 + "}")


def wide_vocabulary(run):
    write_json(run.vocabulary_path, '{"characters":[' + ",".join(["[]"] * 1_600_000) + "]}")


def huge_vocabulary(run):
    with run.vocabulary_path.open("wb") as file:
        file.truncate(50 << 30)


def other_vocabulary(run):
    value = storage.sealed({"characters": "\nxy", "has_unknown_id": False})
    run.vocabulary_path.write_bytes(storage.to_json(value))


def numbers_that_are_none(run):
    text = run.config_path.read_text("utf-8")
    write_json(run.config_path, text.replace('"units": 16', '"units": NaN'))


def endless_number(run):
    text = run.config_path.read_text("utf-8")
    write_json(run.config_path, text.replace('"units": 16', '"units": 1' + "0" * 50_000))


def infinite_number(run):
    edit_config(run)
    text = run.config_path.read_text("utf-8")
    write_json(run.config_path, text.replace('"learning_rate": 0.02', '"learning_rate": 1e999'))


def model_bomb(run):
    edit_config(run, units=16384, num_layers=64)


def other_model(run):
    edit_config(run, residual=True)


def unknown_option(run):
    edit_config(run, run_me="import os")


def wrong_type_of_option(run):
    edit_config(run, cell=["lstm"])


def unknown_group(run):
    value = json.loads(run.config_path.read_text("utf-8"))
    value.pop("sha256")
    value = storage.sealed({**value, "class_name": "\x1b[31m\nLambda"})
    run.config_path.write_bytes(storage.to_json(value))


def path_in_manifest(run):
    path = only_checkpoint(run) / "manifest.json"
    path.write_text(path.read_text("utf-8").replace("state.json", "../../config.json"), "utf-8")


def path_in_state(run):
    edit_state(run, "progress", best_checkpoint="../../../elsewhere")


def shape_of_another_type(run):
    header, data = weights_header(run)
    header["logits/bias"]["shape"] = [float(header["logits/bias"]["shape"][0])]
    edit_weights(run, header, data=data)


def header_of_lists(run):
    """As large as the weights it claims to describe."""
    edit_config(run, units=1024)
    path = only_checkpoint(run) / "state.json"
    path.write_text(path.read_text("utf-8").replace('"units": 16', '"units": 1024'), "utf-8")
    edit_weights(run, header_bytes=b"[" * (12 << 20))


def vocabulary_of_chains(run):
    chains = ",".join(["[" * 900 + "]" * 900] * 2800)
    write_json(run.vocabulary_path, '{"characters":[' + chains + "]}")


def thousands_of_checkpoints(run):
    for number in range(2000):
        (run.checkpoints / f"step-{number + 10_000:08d}").mkdir()


def number_beyond_measure(run):
    edit_config(run, "optimizer", learning_rate=10**300)


def name_of_another_type(run):
    edit_config(run, "data", name=["x"])


def state_of_another_model(run):
    edit_state(run, "model", class_name="Lambda")


def resumptions_of_another_kind(run):
    value = json.loads(run.config_path.read_text("utf-8"))
    value.pop("sha256")
    run.config_path.write_bytes(storage.to_json(storage.sealed({**value, "resumed": [1]})))


def link_to_other_checkpoints(run):
    run.checkpoints.rename(run.path.parent / "others")
    run.checkpoints.symlink_to(run.path.parent / "others")


def link_to_a_device(run):
    path = only_checkpoint(run) / "weights.safetensors"
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_a_folder(run):
    place = only_checkpoint(run)
    place.rename(run.path.parent / "elsewhere")
    place.symlink_to(run.path.parent / "elsewhere")


def pipe_for_config(run):
    run.config_path.unlink()
    os.mkfifo(run.config_path)


def config_missing(run):
    run.config_path.unlink()


def config_of_bytes(run):
    run.config_path.write_bytes(b"\x80\x04\x95\xff" * 99)


def progress_of_another_kind(run):
    edit_state(run, "progress", step="12")


HOSTILE = {
    header_that_is_giant: "expected a safetensors header, found one of 4,611,686",
    header_of_megabytes: "none that is whole",
    shape_bomb: "expected tensor logits/kernel",
    other_type: "expected tensor logits/bias",
    overlapping_tensors: "expected tensors that fill",
    tensor_too_many: "'extra' is there",
    duplicate_tensors: "a duplicate key",
    deep_header: "expected a safetensors header, found one of 5,401 bytes",
    duplicate_keys: "config.json: .* a duplicate key",
    deep_config: "config.json: .* more than 10,000 lists and objects",
    deep_vocabulary: "vocabulary.json: .* more than 10,000 lists and objects",
    wide_vocabulary: "vocabulary.json: .* more than 10,000 lists and objects",
    shape_of_another_type: r"expected tensor logits/bias .*found .*\[2.0\]",
    header_of_lists: "found one of 12,582,912 bytes",
    vocabulary_of_chains: "vocabulary.json: .* more than 10,000 lists and objects",
    thousands_of_checkpoints: "none that is whole",
    number_beyond_measure: "config.json: --learning_rate: expected at most",
    name_of_another_type: "config.json: expected name of type str",
    state_of_another_model: "state.json: unknown option 'class_name'",
    resumptions_of_another_kind: "config.json: expected from, changed, found int",
    link_to_other_checkpoints: "checkpoints: expected a folder, found a symbolic link",
    huge_vocabulary: "vocabulary.json: expected at most 5,242,880 bytes, found 53,687,091,200",
    other_vocabulary: "none that is whole|expected the vocabulary that step",
    numbers_that_are_none: "config.json: .* NaN, which is no JSON",
    endless_number: "config.json: expected a JSON object, found Exceeds the limit",
    infinite_number: "config.json: .*1e999, which is no JSON",
    model_bomb: "expected at most 1,000,000,000 parameters",
    other_model: "expected residual False, as step.* found True",
    unknown_option: "config.json: unknown option 'run_me'",
    wrong_type_of_option: "config.json: --cell: expected",
    unknown_group: r"config.json: expected format_version, .*x1b\[31m\\\\nLambda|class_name",
    path_in_manifest: "none that is whole",
    path_in_state: "expected the name of a checkpoint",
    link_to_a_device: "none that is whole",
    link_to_a_folder: "none that is whole",
    pipe_for_config: "expected a regular file",
    config_missing: "expected a run folder, found no config.json",
    config_of_bytes: "config.json: expected a JSON object",
    progress_of_another_kind: "expected step to be a count",
}


def test_hostile_files_end_in_one_line_quickly_and_in_little_memory(run, tmp_path):
    """Under 2 s and 200 MB each, in a process that has loaded the same run before."""
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("this machine does not tell a process's peak of memory (/proc)")
    folders = []
    for hostile in HOSTILE:
        folder = shutil.copytree(run.path, tmp_path / hostile.__name__)
        hostile(runs.Run(folder))
        folders.append(str(folder))
    code = (
        "import json, sys, time\n"
        "from shakespeare_gen import runs\nfrom shakespeare_gen.runs import checkpoints\n"
        "from shakespeare_gen.errors import UserError\n"
        "def memory(key):\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024\n"
        "good, *hostile = sys.argv[1:]\n"
        "checkpoints._read(runs.Run(good), 'last')\n"
        "for folder in hostile:\n"
        "    open('/proc/self/clear_refs', 'w').write('5')  # the peak starts from here\n"
        "    before, began, message = memory('VmRSS'), time.monotonic(), ''\n"
        "    try: checkpoints._read(runs.Run(folder), 'last')\n"
        "    except UserError as error: message = str(error)\n"
        "    seconds = time.monotonic() - began\n"
        "    print(json.dumps([message, seconds, memory('VmHWM') - before]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path), *folders],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(HOSTILE), done.stderr[-2000:]
    wrong = [
        (hostile.__name__, *answer)
        for (hostile, expected), answer in zip(HOSTILE.items(), answers, strict=True)
        if not re.search(expected, answer[0]) or answer[1] > 2 or answer[2] > 200
    ]
    assert wrong == [], "\nW ".join(map(str, wrong))
    assert all("\n" not in message and len(message) < 1000 for message, *_ in answers)


def test_loading_runs_no_code_and_opens_nothing_outside_the_run_folder(run):
    """An audit hook sees every import, exec, unpickling, process, socket and open file."""
    code = (
        "import pathlib, pickle, sys\n"
        "from shakespeare_gen import runs\nfrom shakespeare_gen.runs import checkpoints\n"
        "from shakespeare_gen.system import devices\n"
        "devices.start()\n"
        "run = runs.Run(sys.argv[1])\n"
        "checkpoints.load_network(run, checkpoints.read(run))  # Keras imports what it needs\n"
        "forbidden = ('exec', 'compile', 'marshal.', 'pickle.', 'import', 'subprocess.',\n"
        "             'socket.', 'os.system', 'os.exec', 'os.posix_spawn', 'ctypes.dlopen')\n"
        "seen = []\n"
        "def hook(event, arguments):\n"
        "    if event.startswith(forbidden): raise SystemExit(f'{event} {arguments}')\n"
        "    if event == 'open' and isinstance(arguments[0], (str, bytes, pathlib.Path)):\n"
        "        seen.append(event)\n"
        "        if run.path.resolve() not in pathlib.Path(arguments[0]).resolve().parents:\n"
        "            raise SystemExit(f'opened {arguments[0]}')\n"
        "sys.addaudithook(hook)\n"
        "network = checkpoints.load_network(run, checkpoints.read(run))\n"
        "assert len(seen) > 4, seen\n"
        "try: pickle.loads(b'cos\\nsystem\\n.')\n"
        "except SystemExit as stop: assert str(stop).startswith('pickle.find_class')\n"
        "else: raise AssertionError('the hook sees nothing')\n"
        "print(network.count_params())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run.path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000


# Tensors


def test_arrays_come_back_as_they_were():
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(7, np.int64),
        "c": np.zeros((0, 4), np.int32),
        "d": np.array([1, 2], np.uint32),
    }
    kinds = {name: (str(a.dtype), a.shape) for name, a in arrays.items()}
    data = tensors.encode(arrays)
    assert len(data) <= tensors.max_bytes(kinds)
    for name, array in tensors.decode(data, kinds, "x").items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype


def test_a_run_of_a_newer_format_is_refused(run):
    path = run.config_path
    path.write_text(path.read_text("utf-8").replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(UserError, match="expected format_version 1 at most, received 2; a newer"):
        checkpoints.read(run)


def test_a_folder_that_a_trainer_tidies_meanwhile_is_read(run, monkeypatch):
    """The checkpoint that was listed is gone when it is opened; a newer one is there."""
    place = only_checkpoint(run)
    find_damage = store.find_damage

    def tidied(at, max_bytes, unread):
        if at == place:
            shutil.copytree(place, run.checkpoints / "step-00009999")
            shutil.rmtree(place)
        return find_damage(at, max_bytes, unread)

    monkeypatch.setattr(store, "find_damage", tidied)
    assert checkpoints.read(run, "last").place.name == "step-00009999"
