"""What a user would take instead, beside edge-ser: the same audio, one thread, in turn.

``python -m benchmarks.peers`` prints a table; ``--json FILE`` and ``--figure FILE`` keep it.
"""

from __future__ import annotations

import os

# Libraries read these when they are imported, so this comes before any of them.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
