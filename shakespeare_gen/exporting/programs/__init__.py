"""Files that are copied into an exported folder; they need neither this package nor each other's
format.

- `measure`: reads a text with the `model.py` of a folder, for the proof;
- `generate`: continues a prompt;
- `characters`, `byte_tokens`, `words`: the `tokenizer.py` of a folder, by the name of a tokenizer.
"""
