"""Triton kernels; this folder is installed as `fastwave.kernels`."""
