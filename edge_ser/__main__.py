"""``python -m edge_ser``."""

from __future__ import annotations

import sys

from edge_ser.cli import main

sys.exit(main())
