"""Bounds and choices that several option groups share."""

MAX_SEED = 2**31 - 1
MAX_FLOAT32 = 3.4e38
MAX_CLIP = 1e30  # the inverse of a larger number underflows in float32, and training stands still
MAX_WORKERS = 1023
CHECKPOINTS = ("best", "last")
KERNELS = ("auto", "keras", "fused")
ENCODING_ERRORS = ("strict", "replace", "ignore")
