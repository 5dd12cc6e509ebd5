"""Options: their definition, the option groups, and the flags and tables generated from them.

- `fields`: `option`, `OptionGroup` and `Options`, the typed options of a command;
- `groups`: the options that do not belong to a single component;
- `spelling`: formats options as flags, and reads values from text;
- `help_pages`: the help page of a command;
- `command_line`: startup and exit of a command; the only importer of absl's flags;
- `tables`: the flag tables of `docs/flags.md`.
"""

from shakespeare_gen.options.fields import OptionGroup, Options, option

__all__ = ["OptionGroup", "Options", "option"]
