"""Recovery without labels: each merged segment learns to compute what the original computes there."""

SOLVED = ("lsq", "refit")  # stages that solve least squares
TRAINED = ("front", "tail", "distill")  # stages that train by gradients
CUT = ("front", "tail")  # those that train the layers before a cut, and after it
STAGES = (*SOLVED, *TRAINED)
