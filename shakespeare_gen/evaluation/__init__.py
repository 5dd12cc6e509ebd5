"""Evaluation of models and texts: one module per question.

- `likelihood`: the loss of a frozen model, over every token;
- `dynamic`: the loss of a model that adapts to the text it reads;
- `ngrams`, `compressors`: baselines; `kneser_ney`: the n-gram baseline in bounded time;
- `mixture`: a model mixed with n-grams, `matches` and contexts of `words`;
- `adapting_counts`: counts that grow with the text; `hashing`: hashes of contexts;
- `scores`: a loss with its units, accuracy and standard error;
- `copying`: spans copied from the training text;
- `style`: repetition and drift; `loops`: phrases repeated in a row;
- `breakdown`, `neurons`: the distribution of the loss, and properties tracked by single units;
- `gradient_flow`: gradients of the loss of a token by earlier states;
- `subject`: the model and texts to evaluate; `leaderboard`: the rows of scores; `generated`:
  generated text;
- `assessment`: a whole evaluation, from a run to figures;
- `corpus_statistics`: a corpus before training.

Knows models, tokens and runs, but no flags and no presentation.
"""
