"""Set networks up for measuring: which ones, on which engines, each engine in a process of its own."""
