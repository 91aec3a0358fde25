"""Timing networks on a noisy machine: fair turns, trustworthy estimates."""
