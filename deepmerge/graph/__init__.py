"""The in-memory layer graph: layers, blobs, typed parameters, shapes, costs, checks."""

from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params_forks import FORK_TYPES
from deepmerge.graph.tree import Field, Message, Quoted, Token

__all__ = ["FORK_TYPES", "Blob", "Field", "Graph", "Layer", "Message", "Quoted", "Token"]
