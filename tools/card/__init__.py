"""The parts of tools/gpu_check.py: problems, references, timing, and what is printed."""
