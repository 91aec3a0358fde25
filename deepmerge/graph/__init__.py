"""The in-memory layer graph: layers, blobs, typed parameters, shapes, costs, checks.

graph.py says how shapes, costs and indexes follow edits without looking at the whole network again.
"""

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Field, Message, Quoted, Token

__all__ = ["Blob", "Field", "Graph", "Layer", "Message", "Quoted", "Token"]
