"""Before OpenMP is loaded: its threads sleep where they wait for each other.

By default they spin, which costs the other threads their processor where somebody else uses the
machine too: convolution on two threads then took 2 to 7 times as long as on one. Whoever sets
OMP_WAIT_POLICY is obeyed."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
