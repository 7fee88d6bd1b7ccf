"""Checks of a model, and measurements of a machine."""
