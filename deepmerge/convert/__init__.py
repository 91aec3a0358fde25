"""Conversions: read, plan, apply, write."""
