"""Pure maths on weights: numpy arrays in, numpy arrays out; no graph, no files."""
