"""Sets of images as people keep them: tables of files and labels, and the parts of a set."""
