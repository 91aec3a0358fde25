"""The page's sections, one a file: each a function that gives HTML."""
