"""Helpers that are independent of images."""
