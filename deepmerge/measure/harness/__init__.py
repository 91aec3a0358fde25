"""Networks set up to be measured: which ones, on which engines, each engine in a process of its own."""
