"""Kernels broken one place at a time, and what their tests say."""
