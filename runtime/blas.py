"""Tells numpy's BLAS which kernels to use; imported by the package before anything imports numpy.

By itself it chooses by processor, and its kernels add up in different orders. A command on the edge
of a limit then goes either way, so a record would not replay on a processor of another make.
"""

import os
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

# these run on every x86-64 processor with AVX2; elsewhere the choice stays BLAS's own
if _CPU.exists() and {"avx2", "fma"} <= set(_CPU.read_text(encoding="utf-8").split()):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
