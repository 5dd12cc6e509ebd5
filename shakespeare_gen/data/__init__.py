"""From a corpus to batches of token ids.

    source -> splits -> tokenizer -> token store -> windows

- `sources`: sources of text (TFDS, files, plays), one module each, and their registry;
- `corpora`: loads a corpus in three splits; `splits`: splits a single text;
- `text_files`: reads and decodes one file; `text_encodings`: finds its encoding;
- `formats`: documents that are not plain text; `mojibake`: text decoded with a wrong encoding;
- `texts`: large texts in bounded memory;
- `documents`: joins documents and marks their ends;
- `tokenizers`: text to token ids and back;
- `token_store`: the tokens of a corpus, together with their text;
- `windows`: batches of token ids as a `tf.data` pipeline.

No module here imports TensorFlow at import time. Knows nothing about models.

Shapes: B batch, T time (tokens in a window), N tokens of a text, V vocabulary.
"""
