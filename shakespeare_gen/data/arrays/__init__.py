"""A corpus as arrays of token ids in files: tokenized and cut into windows once, then mapped.

- `folder`: names of the files, and the JSON file that describes them;
- `writing`: a corpus to a folder;
- `reading`: a folder to the text, the tokens and the windows of a run.

A folder holds the arrays of one text, by any number of tokenizers:

    book_train.txt, book_validation.txt, book_test.txt   the text
    book_chars.json           vocabulary, options, hashes
    book_char_windows.npy     windows of the training text, unsigned integers [num_windows, T + 1]
    book_char_tokens.npy      tokens of the training text, unsigned integers [N]

A window has one token more than the model reads, because targets are inputs shifted by one. The
arrays are mapped into memory by the operating system, and never copied as a whole. All files are
untrusted: hashes, shapes, types and ids are verified.
"""
