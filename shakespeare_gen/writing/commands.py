"""The lines of a session: text to continue, and commands that begin with a slash.

    commands = Commands(session)
    reply = commands.run("/set temperature 0.9", check)
    reply.text, reply.pieces, reply.message

A line that is not a command is added to the text and continued. `COMMANDS` lists the commands;
to add one, write a function and an entry. Reads and writes the files that commands name, and knows
nothing about terminals.
"""

import dataclasses
from collections.abc import Callable, Iterator

from shakespeare_gen.data import text_files
from shakespeare_gen.errors import UsageError
from shakespeare_gen.options import spelling
from shakespeare_gen.options.fields import fields_of
from shakespeare_gen.options.help_pages import help_text, shown
from shakespeare_gen.system import storage
from shakespeare_gen.writing.scores import Score
from shakespeare_gen.writing.session import Session

MAX_SHOWN_TOKENS = 80  # each with its bits
MAX_TAIL_CHARS = 40
TOKENS_PER_LINE = 8

Check = Callable[[], None]


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a line leads to.

    Attributes:
      text: part of the text.
      pieces: what the model adds to it, generated while it is read; None: nothing.
      message: for the person; may have several lines.
      ends: whether the session ends.
    """

    text: str = ""
    pieces: Iterator[str] | None = None
    message: str = ""
    ends: bool = False


class Commands:
    """Runs lines for one session.

    Attributes:
      saved: the text that needs no saving: the first one, or that of a file.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.saved = session.text

    def run(self, line: str, check: Check = lambda: None) -> Reply:
        """Runs one line.

        Args:
          check: called while the model reads; an exception that it raises ends the reading.

        Raises:
          UserError: the line cannot be carried out; nothing has changed.
        """
        if not line.startswith("/"):
            return self._continue(line, check)
        if line.startswith("//"):
            return self._continue(line[1:], check)
        name, _, argument = line[1:].partition(" ")
        command = COMMANDS.get(name)
        if command is None:
            meant = SYNONYMS.get(name, name)
            advice = spelling.advice(f"/{meant}", [f"/{known}" for known in COMMANDS])
            raise UsageError(f"unknown command '/{name}' (// begins text with a slash); {advice}")
        command.check_argument(name, argument)
        return command.action(self, argument, check)

    def _continue(self, line: str, check: Check) -> Reply:
        added = self.session.add_line(line) if line else ""
        return Reply(added.removeprefix("\n"), self.session.generate(check))


Action = Callable[[Commands, str, Check], Reply]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: its argument, as the help page shows it, a summary, and what it does."""

    argument: str
    summary: str
    action: Action

    def check_argument(self, name: str, argument: str) -> None:
        """Raises `UsageError` if the argument is missing or unexpected."""
        if argument.strip() and not self.argument:
            raise UsageError(f"/{name}: expected no argument, received {argument!r}")
        if not argument.strip() and self.argument and not self.argument.startswith("["):
            raise UsageError(f"/{name}: expected {self.argument}, received nothing")


def help_page() -> str:
    """The list of commands."""
    usages = {f"/{name} {c.argument}".strip(): c.summary for name, c in COMMANDS.items()}
    rows = {
        "TEXT": "add a line to the text, and let the model continue",
        "(empty line)": "let the model continue",
        "//TEXT": "a line of text that begins with a slash",
        **usages,
    }
    width = max(map(len, rows))
    lines = [f"  {usage:{width}}  {summary}" for usage, summary in rows.items()]
    notes = [
        'TEXT and VALUE may be JSON, such as "\\n\\nROMEO:" or ["\\n", "END"].',
        "Ctrl-C stops the model and keeps what it wrote; Ctrl-D ends the session.",
    ]
    return "\n".join([*lines, *notes])


def _help(commands: Commands, argument: str, check: Check) -> Reply:
    return Reply(message=help_page())


def _add(commands: Commands, argument: str, check: Check) -> Reply:
    commands.session.add(spelling.unquoted(argument))
    return _state(commands, "added")


def _proceed(commands: Commands, argument: str, check: Check) -> Reply:
    return Reply(pieces=commands.session.generate(check))


def _retry(commands: Commands, argument: str, check: Check) -> Reply:
    return Reply(pieces=commands.session.retry(check))


def _undo(commands: Commands, argument: str, check: Check) -> Reply:
    if not commands.session.undo():
        raise UsageError("/undo: expected an earlier change, found none")
    return _state(commands, "undone")


def _redo(commands: Commands, argument: str, check: Check) -> Reply:
    if not commands.session.redo():
        raise UsageError("/redo: expected an undone change, found none")
    return _state(commands, "redone")


def _clear(commands: Commands, argument: str, check: Check) -> Reply:
    commands.session.replace("")
    return _state(commands, "cleared, /undo restores the text")


def _show(commands: Commands, argument: str, check: Check) -> Reply:
    return Reply(commands.session.text)


def _set(commands: Commands, argument: str, check: Check) -> Reply:
    session = commands.session
    name, _, text = argument.strip().replace("=", " ", 1).partition(" ")
    fields = {field.name: field for group in session.settings for field in fields_of(type(group))}
    if name in fields and not text.strip():
        return Reply(message=f"{_setting(session, name)}\n{help_text(fields[name])}")
    kind = fields[name].type if name in fields else str
    session.set(**{name: spelling.value(text.strip(), kind)})
    return Reply(message=_setting(session, name))


def _settings(commands: Commands, argument: str, check: Check) -> Reply:
    session = commands.session
    lines = [_setting(session, name) for name in session.settings.by_name()]
    seeds = [passage.seed for passage in session.passages if passage.is_generated]
    return Reply(message="\n".join([*lines, *(f"seed of the last text: {s}" for s in seeds[-1:])]))


def _score(commands: Commands, argument: str, check: Check) -> Reply:
    text = spelling.unquoted(argument) if argument else None
    score = commands.session.score(text)
    total = f"{score.bits_per_character:.3f} bits per character, {score.total_bits:,.1f} in total"
    lines = [f"{total}, {score.num_characters:,} characters"]
    if len(score.pieces) <= MAX_SHOWN_TOKENS:
        lines += _tokens(score)
    return Reply(message="\n".join(lines))


def _save(commands: Commands, argument: str, check: Check, overwrite: bool = False) -> Reply:
    label = f"/save {argument}"
    path = storage.new_file(label, argument.strip(), overwrite, "/save! replaces it")
    text = commands.session.text
    storage.write(path, text.encode("utf-8"))
    commands.saved = text
    return Reply(message=f"saved {len(text):,} characters to {path}")


def _save_over(commands: Commands, argument: str, check: Check) -> Reply:
    return _save(commands, argument, check, overwrite=True)


def _load(commands: Commands, argument: str, check: Check) -> Reply:
    text = _file_text("load", argument)
    commands.session.replace(text)
    commands.saved = text
    return _state(commands, "loaded")


def _insert(commands: Commands, argument: str, check: Check) -> Reply:
    commands.session.add(_file_text("insert", argument))
    return _state(commands, "inserted")


def _quit(commands: Commands, argument: str, check: Check) -> Reply:
    return Reply(ends=True)


# By name, in the order of the help page.
COMMANDS: dict[str, Command] = {
    "continue": Command("", "let the model continue", _proceed),
    "retry": Command("", "replace what the model wrote last, with another seed", _retry),
    "undo": Command("", "take back the last change of the text", _undo),
    "redo": Command("", "restore what was undone last", _redo),
    "add": Command("TEXT", "add text to the last line, without continuing", _add),
    "load": Command("FILE", "replace the text with that of a file", _load),
    "insert": Command("FILE", "add the text of a file at the end", _insert),
    "clear": Command("", "start an empty text", _clear),
    "show": Command("", "show the whole text", _show),
    "save": Command("FILE", "write the text to a new file", _save),
    "save!": Command("FILE", "write the text to a file that may exist", _save_over),
    "score": Command("[TEXT]", "how likely the model finds TEXT, or the whole text", _score),
    "set": Command("NAME [VALUE]", "change a setting, or explain it", _set),
    "settings": Command("", "show all settings", _settings),
    "help": Command("", "show this list", _help),
    "quit": Command("", "end the session", _quit),
}

# What people type at first, for the advice after an unknown command.
SYNONYMS = {"exit": "quit", "bye": "quit", "open": "load", "write": "save"}


def _file_text(name: str, argument: str) -> str:
    return text_files.read_named(argument.strip(), f"/{name} ")


def _state(commands: Commands, done: str) -> Reply:
    text = commands.session.text
    tail = f", the end is {text[-MAX_TAIL_CHARS:]!r}" if text else ""
    return Reply(message=f"{done}: {len(text):,} characters{tail}")


def _setting(session: Session, name: str) -> str:
    value = session.settings.by_name()[name]
    if isinstance(value, tuple):
        return f"{name} {list(value)}" if value else name
    return f"{name} {shown(value)}".strip()


def _tokens(score: Score) -> Iterator[str]:
    """The bits of each token, several on a line."""
    cells = [f"{p!r} {bits:.1f}" for p, bits in zip(score.pieces, score.bits, strict=True)]
    for begin in range(0, len(cells), TOKENS_PER_LINE):
        row = cells[begin : begin + TOKENS_PER_LINE]
        yield "".join(f"  {cell:9}" for cell in row).rstrip()
