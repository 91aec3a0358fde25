"""The rewrites: one pass a file, looked up by name in the registry."""
