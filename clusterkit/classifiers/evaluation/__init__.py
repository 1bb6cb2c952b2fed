"""Measure a classifier on images that it never saw."""
