"""Affinity propagation."""
