"""Recovery without labels: each merged segment learns to compute what the original computes there."""

SOLVED = ("lsq", "refit")  # stages that solve least squares
TRAINED = ("tail", "distill")  # stages that train by gradients
STAGES = (*SOLVED, *TRAINED)
