"""A corpus larger than memory, as shards: files of token ids that training maps into memory.

- `manifest`: the files of a folder, and the JSON file that describes them;
- `units`: cuts the files of a corpus into parts that processes read in parallel;
- `sources`: what has to be unpacked first: compressed files, JSON lines, datasets of TFDS;
- `pieces`: the text of a unit, normalized and cut into train, validation and test;
- `passes`: what a process computes for a unit: counts in the first pass, a shard in the second;
- `processes`: runs jobs in parallel processes;
- `writing`: a corpus to a folder, in two passes that resume after an interruption;
- `reading`: a folder to the tokens of a run.

    processed/
      manifest.json          options, tokenizer, lengths and hashes
      train-00000.ids, ...   tokens of the training text: unsigned integers of the smallest type
      validation.txt, test.txt   the held-out texts
      lines.npy              a sample of the lines of the training text: see `data.line_sketch`

The texts and tokens are those of the same corpus in memory, with two exceptions: a separator of
documents that overlaps itself ("--") is not recognized across the end of a file, and a word of
more than `units.SEARCHED_BYTES` is cut. Memory does not grow with the text.
"""
