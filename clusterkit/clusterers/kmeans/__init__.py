"""K-means: restarts with splits and swaps, mini-batches, and a sweep over k."""
