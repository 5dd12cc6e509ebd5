"""Access to the operating system and the hardware.

- `terminal`: standard input and output, escaping of control characters;
- `storage`: bounded reads and atomic writes of files;
- `signals`: Ctrl-C and SIGTERM;
- `devices`: TensorFlow startup, description of the hardware;
- `threads`: how many threads NumPy uses;
- `logs`: where the log goes, in a terminal and in a notebook;
- `extras`: optional packages.
"""
