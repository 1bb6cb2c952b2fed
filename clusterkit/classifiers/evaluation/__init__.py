"""Evaluate a classifier on test images."""
