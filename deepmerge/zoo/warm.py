"""Imports what nearly every conversion needs, before the processes of the models are forked. Nothing uses it else."""

from __future__ import annotations

import gc

import deepmerge.convert.convert
import deepmerge.formats.write
import deepmerge.formats.write.train_val
import deepmerge.page
import deepmerge.zoo.guard
import deepmerge.zoo.one  # noqa: F401

gc.collect()
gc.freeze()  # the objects of these modules stay in pages that all processes share
