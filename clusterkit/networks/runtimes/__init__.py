"""Run a network: with Keras or OpenVINO, in float32 or bfloat16."""
