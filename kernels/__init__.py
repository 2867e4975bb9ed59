"""Kernels: functions on arrays, one folder a backend. They know no layer, blob or net."""
