"""Writing: a person and a model write a text together.

- `session`: `Session`, the public face: the text, undo and redo, settings;
- `scores`: how likely the model finds a text;
- `commands`: the lines of a session: text, and commands such as `/retry`;
- `console`: a session on standard input and output;
- `samples`: finished samples without a session, as text or JSON;
- `lines`, `drafts`: what is typed, with a history; what is kept until it is saved.

    session = Session(generator, settings)
    session.add_line("ROMEO:")
    text = "".join(session.generate())

`session` and `scores` do no input or output.
"""

from shakespeare_gen.writing.session import Passage, Session, checked, groups

__all__ = ["Passage", "Session", "checked", "groups"]
