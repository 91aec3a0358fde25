"""The in-memory layer graph: layers, blobs, typed parameters, shapes, costs, checks."""

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.tree import Field, Message, Quoted, Token

__all__ = ["Blob", "Field", "Graph", "Layer", "Message", "Quoted", "Token"]
