"""Studies: many runs, whose options are drawn from a search space, by Optuna.

    study_dir/
      study.journal           all trials, unless they are in a database
      trial-0007/             the run of a trial, or trial-0007-seed-0, ...
      study.html, study.json  the results
      best.cfg                the flags of the best trial, as a recipe

- `space`: the search space, read and checked;
- `storage`: the study in a journal file or a database, and what became of its workers;
- `sampling`: samplers and pruners;
- `trials`: one trial, from the options to its loss;
- `study`: trials until the budget is spent;
- `results`: a study as plain values, as JSON and as a recipe.

A study trains like `train`: a trial is an ordinary run folder. Does not know how results look.
"""
