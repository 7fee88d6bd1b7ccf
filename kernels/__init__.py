"""Triton kernels, one file an operator; this folder is installed as `fastwave.kernels`."""
