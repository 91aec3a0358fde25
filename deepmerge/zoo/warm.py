"""Imports what nearly every conversion needs, before the processes of the models are forked. Nothing uses it else."""

from __future__ import annotations

import gc

import deepmerge.convert.convert
import deepmerge.formats.write
import deepmerge.formats.write.train_val
import deepmerge.page
import deepmerge.zoo.guard
import deepmerge.zoo.one  # noqa: F401
from deepmerge.formats import schema
from deepmerge.page.assets import asset
from deepmerge.targets.names import TARGETS
from deepmerge.targets.target import load_target

schema.fields("NetParameter")  # loads protobuf
load_target(TARGETS[0])  # loads what reads TOML
asset("page.css")
gc.collect()
gc.freeze()  # the objects of these modules stay in pages that all processes share
