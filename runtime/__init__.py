"""The control daemon: contracts, safety, tick, loop, links, recorder, processes, command line."""

import os
from pathlib import Path

_CPU = Path("/proc/cpuinfo")

# before anything imports numpy: its BLAS chooses among kernels by processor, and they add up in
# different orders. A command on the edge of a limit then goes either way, so a record would not
# replay on a machine of another make. These kernels run on every x86-64 processor with AVX2.
if _CPU.exists() and {"avx2", "fma"} <= set(_CPU.read_text(encoding="utf-8").split()):
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
