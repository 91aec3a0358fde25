"""What the benchmarks share: the machine, kept results, the tables and the figures that they are compared with."""
