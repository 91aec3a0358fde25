"""OUT, the folder that a conversion writes: writing it, reading it back, and rewriting it with new weights."""
