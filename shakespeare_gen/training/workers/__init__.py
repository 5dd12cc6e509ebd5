"""Several processes that train one model together, on one machine or on several.

Each worker computes the gradients of its rows of every batch; TensorFlow's collectives add them
up, and every worker makes the same update. The first worker, the chief, alone reads and writes the
run folder.

- `cluster`: the addresses of the workers, from flags or `TF_CONFIG`;
- `meeting`: before TensorFlow starts, the workers find each other and compare what they were given;
- `joining`: the preparation of a run in all workers;
- `sharing`: the values of the chief's model, which all need at the start;
- `replicas`: gradients that are added up over devices and workers, with TensorFlow's strategies;
- `team`: the workers during training: what one of them knows, and all of them need;
- `processes`: the workers of one machine.

A worker that ends, stops or cannot be reached is noticed by TensorFlow within ten seconds or so.
`cluster`, `meeting`, `joining` and `processes` do not import TensorFlow.
"""
