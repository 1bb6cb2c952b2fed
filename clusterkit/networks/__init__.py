"""Keras networks: files, training progress, and runtimes."""
