"""Malicious run folders: loading one ends in a one-line error, quickly, with little memory, and
without running code."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from shakespeare_gen.report import comparison
from shakespeare_gen.runs import RunFolder, history, open_run, tensors
from shakespeare_gen.system import storage
from tests import fake_runs
from tests.conftest import REPOSITORY
from tests.fake_runs import change_number, edit_options, only_checkpoint, reseal, write_sealed

GOLDEN = REPOSITORY / "tests" / "golden"


@pytest.fixture(params=[1, 2], ids=["format-1", "format-2"])
def folder(request, tmp_path):
    """A run folder of each format, with one checkpoint."""
    if request.param == 1:
        return RunFolder(shutil.copytree(GOLDEN / "format-1", tmp_path / "run"))
    return fake_runs.write_run(tmp_path / "run").folder


# Capabilities of an attacker


def tokenizer_path(folder):
    is_format_1 = folder.vocabulary_path.exists()
    return folder.vocabulary_path if is_format_1 else folder.tokenizer_path


def edit_config(folder, **values):
    value = json.loads(folder.config_path.read_text("utf-8"))
    write_sealed(folder.config_path, value | values)


def edit_corpus(folder, **facts):
    value = json.loads(folder.config_path.read_text("utf-8"))
    value["data" if "data" in value else "corpus"] |= facts
    write_sealed(folder.config_path, value)


def replace_in_config(folder, name, text):
    """Replaces the value of an option with `text`, without updating the hash."""
    config = folder.config_path.read_text("utf-8")
    changed = re.sub(rf'"{name}": [0-9.]+', f'"{name}": {text}', config)
    assert changed != config
    folder.config_path.write_text(changed, "utf-8")


def edit_weights(folder, header=None, header_bytes=None, data=b""):
    header_bytes = header_bytes if header_bytes is not None else json.dumps(header).encode()
    place = only_checkpoint(folder)
    size = len(header_bytes).to_bytes(8, "little")
    (place / "weights.safetensors").write_bytes(size + header_bytes + data)
    reseal(place)


def edit_tensor(folder, name, **entry):
    header, data = weights_header(folder)
    header[name] |= entry
    edit_weights(folder, header, data=data)


def edit_state(folder, part, **values):
    path = only_checkpoint(folder) / "state.json"
    state = json.loads(path.read_text("utf-8"))
    state[part] |= values
    path.write_bytes(storage.to_json(state))
    reseal(only_checkpoint(folder))


def weights_header(folder):
    data = (only_checkpoint(folder) / "weights.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


# Weights


def giant_header(folder):
    path = only_checkpoint(folder) / "weights.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + path.read_bytes()[8:])
    reseal(only_checkpoint(folder))


def header_of_megabytes(folder):
    edit_weights(folder, header_bytes=b'{"a":"' + b"x" * (64 << 20) + b'"}')


def shape_bomb(folder):
    edit_tensor(folder, "logits/kernel", shape=[1 << 40, 1 << 20])


def other_type(folder):
    edit_tensor(folder, "logits/bias", dtype="I32")


def shape_of_another_type(folder):
    header, _ = weights_header(folder)
    edit_tensor(folder, "logits/bias", shape=[float(header["logits/bias"]["shape"][0])])


def overlapping_tensors(folder):
    header, data = weights_header(folder)
    begin, end = header["logits/bias"]["data_offsets"]
    header["logits/bias"]["data_offsets"] = [0, end - begin]
    edit_weights(folder, header, data=data)


def additional_tensor(folder):
    header, data = weights_header(folder)
    header["extra"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    edit_weights(folder, header, data=data)


def duplicate_tensors(folder):
    _, data = weights_header(folder)
    entry = b'"logits/bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}'
    edit_weights(folder, header_bytes=b"{" + entry + b"," + entry + b"}", data=data)


def deep_header(folder):
    edit_weights(folder, header_bytes=b'{"a":' * 900 + b"1" + b"}" * 900)


def header_of_lists(folder):
    """A header as large as the weights that it claims to describe."""
    edit_options(folder, "model", units=1024)
    edit_state(folder, "model", units=1024)
    edit_weights(folder, header_bytes=b"[" * (12 << 20))


def weight_that_is_nan(folder):
    change_number(folder, "weights.safetensors", "logits/bias", np.nan)


def weight_that_is_infinite(folder):
    change_number(folder, "weights.safetensors", "embedding/embeddings", -np.inf)


# config.json


def duplicate_keys(folder):
    replace_in_config(folder, "units", '16, "units": 16')


def deep_config(folder):
    folder.config_path.write_text('{"model":' + "[" * 30_000 + "]" * 30_000 + "}", "utf-8")


def option_that_is_nan(folder):
    replace_in_config(folder, "units", "NaN")


def endless_number(folder):
    replace_in_config(folder, "units", "1" + "0" * 50_000)


def infinite_number(folder):
    replace_in_config(folder, "learning_rate", "1e999")


def immense_number(folder):
    edit_options(folder, "optimizer", learning_rate=10**300)


def model_bomb(folder):
    edit_options(folder, "model", units=16384, num_layers=64)


def other_model(folder):
    edit_options(folder, "model", residual=True)


def unknown_family(folder):
    edit_options(folder, "model", model=["recurrent"])


def unknown_kind_of_tokens(folder):
    edit_options(folder, "vocabulary", tokens="../words")


def unknown_option(folder):
    edit_options(folder, "model", run_me="import os")


def wrong_type_of_option(folder):
    edit_options(folder, "model", cell=["lstm"])


def options_that_are_a_list(folder):
    name = "model" if folder.vocabulary_path.exists() else "options"
    edit_config(folder, **{name: ["units"]})


def unknown_key(folder):
    edit_config(folder, class_name="\x1b[31m\nLambda")


def wrong_type_of_name(folder):
    edit_corpus(folder, name=["x"])


def wrong_type_of_count(folder):
    edit_corpus(folder, train_chars=True)


def corpus_that_is_a_list(folder):
    edit_config(folder, **{"data" if folder.vocabulary_path.exists() else "corpus": [1]})


def resumption_that_is_a_number(folder):
    edit_config(folder, resumed=[1])


def resumption_without_a_new_value(folder):
    edit_config(folder, resumed=[{"from": "step-00000001", "changed": {"epochs": [1]}}])


def version_that_is_a_boolean(folder):
    edit_config(folder, format_version=True)


def config_pipe(folder):
    folder.config_path.unlink()
    os.mkfifo(folder.config_path)


def config_missing(folder):
    folder.config_path.unlink()


def config_of_bytes(folder):
    folder.config_path.write_bytes(b"\x80\x04\x95\xff" * 99)


# The tokenizer


def deep_tokenizer(folder):
    text = '{"characters":' + "[" * 2_000_000 + "]" * 2_000_000 + "}"
    tokenizer_path(folder).write_text(text, "utf-8")


def wide_tokenizer(folder):
    text = '{"characters":[' + ",".join(["[]"] * 1_600_000) + "]}"
    tokenizer_path(folder).write_text(text, "utf-8")


def tokenizer_of_chains(folder):
    chains = ",".join(["[" * 900 + "]" * 900] * 2800)
    tokenizer_path(folder).write_text('{"characters":[' + chains + "]}", "utf-8")


def huge_tokenizer(folder):
    with tokenizer_path(folder).open("wb") as file:
        file.truncate(50 << 30)


def other_tokenizer(folder):
    """Other characters, but the same number."""
    value = json.loads(tokenizer_path(folder).read_text("utf-8"))
    last = value["characters"][-1]
    value["characters"] = value["characters"][:-1] + chr(ord(last) + 1)
    write_sealed(tokenizer_path(folder), value)


def smaller_tokenizer(folder):
    value = json.loads(tokenizer_path(folder).read_text("utf-8"))
    write_sealed(tokenizer_path(folder), value | {"characters": "\n"})


def tokenizer_of_another_kind(folder):
    write_sealed(tokenizer_path(folder), {"tokens": "x\ny", "words": ["a"]})


def unsorted_tokenizer(folder):
    value = json.loads(tokenizer_path(folder).read_text("utf-8"))
    write_sealed(tokenizer_path(folder), value | {"characters": "ba"})


# The checkpoint


def path_in_manifest(folder):
    path = only_checkpoint(folder) / "manifest.json"
    path.write_text(path.read_text("utf-8").replace("state.json", "../../config.json"), "utf-8")


def path_in_state(folder):
    edit_state(folder, "progress", best_checkpoint="../../../elsewhere")


def digits_of_another_script(folder):
    edit_state(folder, "progress", best_checkpoint="step-٠٠٠٠٠٠٠٧-epoch-٠٠٠١")


def progress_of_another_type(folder):
    edit_state(folder, "progress", step="12")


def state_of_another_model(folder):
    edit_state(folder, "model", class_name="Lambda")


def thousands_of_checkpoints(folder):
    for number in range(2000):
        (folder.checkpoints / f"step-{number + 10_000:08d}").mkdir()


def link_to_other_checkpoints(folder):
    folder.checkpoints.rename(folder.path.parent / "others")
    folder.checkpoints.symlink_to(folder.path.parent / "others")


def link_to_a_device(folder):
    path = only_checkpoint(folder) / "weights.safetensors"
    path.unlink()
    path.symlink_to("/dev/zero")


def link_to_a_folder(folder):
    place = only_checkpoint(folder)
    place.rename(folder.path.parent / "elsewhere")
    place.symlink_to(folder.path.parent / "elsewhere")


NOTHING_INTACT = "expected a run with an intact checkpoint, found none"
TOKENIZER = r"(tokenizer|vocabulary)\.json: "
HOSTILE = {
    giant_header: "expected a safetensors header, found one of 4,611,686",
    header_of_megabytes: NOTHING_INTACT,
    shape_bomb: "expected tensor logits/kernel",
    other_type: "expected tensor logits/bias",
    shape_of_another_type: r"expected tensor logits/bias .*found .*\[\d+\.0\]",
    overlapping_tensors: "expected tensors that fill",
    additional_tensor: "'extra' is unexpected",
    duplicate_tensors: "a duplicate key",
    deep_header: "expected a safetensors header, found one of 5,401 bytes",
    header_of_lists: "found one of 12,582,912 bytes",
    weight_that_is_nan: r"weights\.safetensors: expected finite .* in logits/bias",
    weight_that_is_infinite: r"weights\.safetensors: expected finite .* in embedding/embeddings",
    duplicate_keys: "config.json: .* a duplicate key",
    deep_config: "config.json: .* more than 10,000 lists and objects",
    option_that_is_nan: "config.json: .* NaN, which is not valid JSON",
    endless_number: "config.json: .*'units': 10+, which is too large",
    infinite_number: "config.json: .*1e999, which is too large",
    immense_number: "config.json: learning_rate: expected at most",
    model_bomb: "config.json: .*expected at most 1,000,000,000 parameters",
    other_model: "expected residual False, as in step.* found True",
    unknown_family: "config.json: model: expected a value of type str",
    unknown_kind_of_tokens: "config.json: tokens: expected one of",
    unknown_option: "config.json: unknown option 'run_me'",
    wrong_type_of_option: "config.json: cell: expected",
    options_that_are_a_list: "config.json: expected options by name",
    unknown_key: r"config.json: expected format_version, .*class_name",
    wrong_type_of_name: "config.json: expected name of type str",
    wrong_type_of_count: "config.json: expected train_chars of type int",
    corpus_that_is_a_list: "config.json: expected name, requested, .* found list",
    resumption_that_is_a_number: "config.json: expected from, changed, found int",
    resumption_without_a_new_value: "config.json: expected an old and a new value of 'epochs'",
    version_that_is_a_boolean: "config.json: expected format_version 2, received 'True'",
    config_pipe: "expected a regular file",
    config_missing: "expected a run folder, found no config.json",
    config_of_bytes: "config.json: expected a JSON object",
    deep_tokenizer: TOKENIZER + ".* more than 10,000 lists and objects",
    wide_tokenizer: TOKENIZER + ".* more than 10,000 lists and objects",
    tokenizer_of_chains: TOKENIZER + ".* more than 10,000 lists and objects",
    huge_tokenizer: TOKENIZER + "expected at most 5,242,880 bytes, found 53,687,091,200",
    other_tokenizer: "expected the tokenizer that step.* was trained with",
    smaller_tokenizer: NOTHING_INTACT + "|expected the tokenizer that step",
    tokenizer_of_another_kind: TOKENIZER + "(tokens|tokenizer): expected",
    unsorted_tokenizer: TOKENIZER + "characters: expected sorted unique",
    path_in_manifest: NOTHING_INTACT,
    path_in_state: r"state\.json: progress: expected the name of a checkpoint",
    digits_of_another_script: r"state\.json: progress: expected the name of a checkpoint",
    progress_of_another_type: r"state\.json: progress: expected step to be a count",
    state_of_another_model: "state.json: unknown option 'class_name'",
    thousands_of_checkpoints: NOTHING_INTACT,
    link_to_other_checkpoints: "checkpoints: expected a folder, found a symbolic link",
    link_to_a_device: NOTHING_INTACT,
    link_to_a_folder: NOTHING_INTACT,
}

LOAD_EACH = """
import json, sys, time
from shakespeare_gen import runs
from shakespeare_gen.errors import UserError
from shakespeare_gen.runs import checkpoints

def load(path):
    checkpoints.read(runs.open_run(path), "last", verify_training=True)

def memory(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

good, *hostile = sys.argv[1:]
load(good)
for path in hostile:
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts from here
    before, began, message = memory("VmRSS"), time.monotonic(), ""
    try:
        load(path)
    except UserError as error:
        message = str(error)
    seconds = time.monotonic() - began
    print(json.dumps([message, seconds, memory("VmHWM") - before]))
print("tensorflow" in sys.modules)
"""


def test_hostile_files_are_rejected_on_one_line_quickly_and_with_little_memory(folder, tmp_path):
    """Under 2 s and 200 MB each, in a process that has loaded the same run before."""
    if not os.path.exists("/proc/self/clear_refs"):
        pytest.skip("this machine does not tell a process's peak of memory (/proc)")
    paths = []
    for hostile in HOSTILE:
        copy = RunFolder(shutil.copytree(folder.path, tmp_path / hostile.__name__ / "run"))
        hostile(copy)
        paths.append(str(copy.path))
    done = subprocess.run(
        [sys.executable, "-c", LOAD_EACH, str(folder.path), *paths],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    *answers, imports_tensorflow = done.stdout.splitlines()
    assert len(answers) == len(HOSTILE), done.stderr[-2000:]
    assert imports_tensorflow == "False"
    answers = [json.loads(line) for line in answers]
    wrong = [
        (hostile.__name__, *answer)
        for (hostile, expected), answer in zip(HOSTILE.items(), answers, strict=True)
        if not re.search(expected, answer[0]) or answer[1] > 2 or answer[2] > 200
    ]
    assert wrong == [], "\nW ".join(map(str, wrong))
    assert all("\n" not in message and len(message) < 1000 for message, *_ in answers)


@pytest.mark.slow
def test_loading_runs_no_code_and_opens_nothing_outside_the_run_folder(folder):
    """An audit hook records imports, exec calls, unpickling, processes, sockets and open files."""
    code = (
        "import pathlib, pickle, sys\n"
        "from shakespeare_gen import runs\nfrom shakespeare_gen.runs import checkpoints\n"
        "from shakespeare_gen.system import devices\n"
        "def load():\n"
        "    run = runs.open_run(sys.argv[1])\n"
        "    return run, checkpoints.load_model(run, checkpoints.read(run))\n"
        "devices.start()\n"
        "run, _ = load()  # Keras imports what it needs\n"
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
        "_, model = load()\n"
        "assert len(seen) > 4, seen\n"
        "try: pickle.loads(b'cos\\nsystem\\n.')\n"
        "except SystemExit as stop: assert str(stop).startswith('pickle.find_class')\n"
        "else: raise AssertionError('the hook sees nothing')\n"
        "print(model.num_parameters)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 1000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_rejected_by_file_and_tensor(value):
    """`generate` once wrote blank lines with exit code 0, `evaluate` ended in a traceback."""
    data = tensors.encode({"a": np.zeros(3, np.float32), "b": np.array([0, value], np.float32)})
    kinds = {"a": ("float32", (3,)), "b": ("float32", (2,))}
    with pytest.raises(Exception, match="^x: expected finite numbers, found NaN or .* in b$"):
        tensors.decode(data, kinds, "x")


@pytest.mark.parametrize(
    "row",
    [
        {"epoch": 1, "step": 2, "loss": 3.0},
        {"loss": 10**400},
        {"characters_per_second": 10**400},
    ],
)
def test_a_row_that_lacks_figures_or_exceeds_every_float_is_skipped(folder, row, caplog):
    """`compare`, the run card and `train --resume` once ended in a traceback."""
    if len(row) == 1:
        row = dict.fromkeys(history.EPOCH_KEYS, 1) | row
    folder.metrics_path.write_text(json.dumps(row) + "\n", "utf-8")
    [group] = comparison.compare([open_run(folder.path)])
    assert group.results[0].rows == []
    assert "skipping damaged line" in caplog.text
