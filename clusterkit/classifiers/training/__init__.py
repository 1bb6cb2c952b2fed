"""Train networks on arrays."""
