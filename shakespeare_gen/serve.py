"""Serves a trained model: a page to write with at /, and an API like OpenAI's completions.

python -m shakespeare_gen.serve --run_dir=runs/quick --port=8000
python -m shakespeare_gen.serve --run_dir=runs/quick,pretrained:tiny-shakespeare
"""

import os
import sys

from absl import logging

from shakespeare_gen import pretrained
from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import OptionGroup, Options, command_line
from shakespeare_gen.options.groups import (
    EngineOptions,
    LoadOptions,
    SavedRunsOptions,
    ServedModelsOptions,
    ServeOptions,
)
from shakespeare_gen.runs import finding, split_paths
from shakespeare_gen.system import extras, terminal

# How long a thread of Python keeps the interpreter while another one waits for it; the engine waits
# for the event loop after each call of TensorFlow. Python's default is ten times as long.
SWITCH_SECONDS = 0.0005


def groups() -> tuple[type[OptionGroup], ...]:
    """The option groups of the command."""
    return (SavedRunsOptions, LoadOptions, EngineOptions, ServedModelsOptions, ServeOptions)


def main(options: Options) -> None:
    """The command: serves until it is interrupted."""
    extras.require("serve", "serve")
    from shakespeare_gen.serving import server
    from shakespeare_gen.serving.application import application
    from shakespeare_gen.serving.guards import Guard, read_key
    from shakespeare_gen.serving.service import Service

    how, models = options[ServeOptions], options[ServedModelsOptions]
    key = read_key(how.api_key_path) if how.api_key_path else ""
    service = Service(
        split_paths(finding.chosen(options[SavedRunsOptions].run_dir, pretrained.DEFAULT)),
        (_checkpoint(options), options[EngineOptions].engine),
        models.max_models,
        int(models.prompt_cache_megabytes * 2**20),
        models.max_request_seconds,
        models.precision,
    )
    listener = server.listen(how.host, how.port)
    guard = Guard(how.allowed_hosts, how.allowed_origins, key)
    app = application(service, guard, how.allowed_origins, how.log_prompts)
    logging.info("%s on %s", ", ".join(service.catalog.runs), server.address(listener))
    sys.setswitchinterval(SWITCH_SECONDS)
    server.Server(app, service, models.follow).run([listener])
    _exit()


def _exit() -> None:
    """Ends the process at once: Python would crash while a thread of TensorFlow compiles."""
    terminal.flush_errors()
    os._exit(0)


def _checkpoint(options: Options) -> str:
    """Which checkpoint is loaded: with `follow`, the last one."""
    if not options[ServedModelsOptions].follow:
        return options[LoadOptions].checkpoint
    if "checkpoint" in options.given and options[LoadOptions].checkpoint != "last":
        raise UsageError("checkpoint: expected last with `follow`, received best")
    return "last"


if __name__ == "__main__":
    command_line.run(main, *groups())
