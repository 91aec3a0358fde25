"""Older forms of a network, as trees: V0 layers → V1 layers → today's. Caffe: upgrade_proto.cpp.

Each module does what one function there does; formats/read/upgrade.py calls them in Caffe's order. After that, nothing
knows of legacy forms.
"""
