"""deepmerge: turns a trained Caffe network into a faster one, by merging its layers.

This module imports nothing: `import deepmerge` is instant, and each part loads what it needs.
"""

__version__ = "0.1.0"
