"""Targets: what the compilers of devices demand of Caffe files, one TOML file each.

docs/develop/adding-a-target.md says what the keys of a file mean. Loads nothing by itself.
"""
