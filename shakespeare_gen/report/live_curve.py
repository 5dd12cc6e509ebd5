"""Learning curves in a notebook while runs are trained: one figure, and the latest sample below it,
both updated in place.

    with live_curve.shown() as watch:
        trainer.train(options, watch=watch)

Outside a notebook it shows nothing. Reads the metrics in the run folders; knows nothing about
training.
"""

import base64
import contextlib
import dataclasses
import html
import time
from collections.abc import Callable, Iterator
from typing import Any

from shakespeare_gen.options.groups import TrainingOptions
from shakespeare_gen.report import curves
from shakespeare_gen.runs import Run
from shakespeare_gen.system import logs, terminal

WIDTH = 640  # of the figure in a notebook, in pixels
MIN_SECONDS = 1.0  # between two updates
MAX_SHARE = 0.03  # of the time that drawing may take


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Run, int, int], None]]:
    """A watcher for `training.control.Control` that shows the curves of all runs it is told of."""
    if not logs.in_notebook():
        yield lambda run, step, num_steps: None
        return
    live = LiveCurve()
    try:
        yield live
    finally:
        live.finish()


@dataclasses.dataclass
class _Watched:
    """A run, how far it is, and since when it is watched."""

    run: Run
    first_step: int
    step: int
    num_steps: int
    began: float = dataclasses.field(default_factory=time.monotonic)
    ended: float = 0.0

    @property
    def title(self) -> str:
        """The name of the run, and the time that it took or still needs."""
        seconds = (self.ended or time.monotonic()) - self.began
        if self.ended:
            return f"{self.run.path.name}: {self.step:,} steps in {_minutes(seconds)}"
        done = self.step - self.first_step
        left = seconds * (self.num_steps - self.step) / done if done else None
        rest = "" if left is None else f", about {_minutes(left)} left"
        return f"{self.run.path.name}: step {self.step:,} of {self.num_steps:,}{rest}"

    def sample(self) -> str:
        """The latest text that the model wrote, and when; empty before the first one."""
        per_epoch = self.num_steps // self.run.spec.options[TrainingOptions].epochs
        found = [(number * per_epoch, text) for number, text in self.run.samples("epoch")]
        found += self.run.samples("step")
        step, text = max(found, default=(0, ""), key=lambda pair: pair[0])
        return f"A sample after step {step:,}:\n\n{terminal.visible(text)}" if text else ""

    def curve(self) -> curves.Curve:
        """What is known of the run so far."""
        per_epoch = self.num_steps / self.run.spec.options[TrainingOptions].epochs
        name = self.run.path.name
        return curves.Curve(name, self.run.metrics(), self.run.step_metrics(), per_epoch)


class LiveCurve:
    """Shows the curves of the runs that it is called with, the latest of them in training."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []
        self._handles: dict[str, Any] = {}
        self._next = 0.0

    def __call__(self, run: Run, step: int, num_steps: int) -> None:
        """Updates the figure, unless it was updated a short time ago."""
        if not self._watched or self._watched[-1].run.path != run.path:
            self._end_run()
            self._watched.append(_Watched(run, step, step, num_steps))
            self._next = 0.0
        self._watched[-1].step = step
        if time.monotonic() >= self._next:
            self._draw()

    def finish(self) -> None:
        """Draws the figure that stays."""
        if self._watched:
            self._end_run()
            self._draw()

    def _end_run(self) -> None:
        if self._watched:
            self._watched[-1].ended = time.monotonic()

    def _draw(self) -> None:
        began, latest = time.monotonic(), self._watched[-1]
        picture = curves.live(latest.title, [watched.curve() for watched in self._watched])
        self._show("image/png", base64.b64encode(picture).decode(), latest.title)
        # Shown before there is one, so that it has its place below the figure.
        sample = latest.sample()
        markup = f"<pre style='font-family: monospace'>{html.escape(sample)}</pre>"
        self._show("text/html", markup, sample)
        now = time.monotonic()
        self._next = now + max(MIN_SECONDS, (now - began) / MAX_SHARE)

    def _show(self, kind: str, content: str, plain: str) -> None:
        """Shows or updates the output of a MIME type."""
        from IPython import display

        data = {kind: content, "text/plain": plain}
        given = {"raw": True, "metadata": {"image/png": {"width": WIDTH}}}
        if handle := self._handles.get(kind):
            handle.update(data, **given)
        else:
            self._handles[kind] = display.display(data, display_id=True, **given)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
