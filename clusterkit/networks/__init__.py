"""Keras networks: their files, their training, and the runtimes that run them."""
