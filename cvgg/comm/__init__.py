"""Communicators: solo now; MPI and NCCL come behind the same Protocol."""

from cvgg.comm.base import Comm, Sum
from cvgg.comm.solo import SoloComm

__all__ = ["Comm", "SoloComm", "Sum"]
