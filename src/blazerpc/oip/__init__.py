"""The Open Inference Protocol, version 2: the same models for clients of Triton and KServe."""
