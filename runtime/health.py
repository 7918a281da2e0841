"""Whether the service of this machine lives: ``python -m edge_ser.runtime.health [URL]``.

For health checks of containers, whose images have no curl. Standard library only.
"""

from __future__ import annotations

import sys
import urllib.request

__all__ = ["is_alive"]

_URL = "http://127.0.0.1:8765/healthz"


def is_alive(url: str = _URL, timeout_s: float = 3.0) -> bool:
    """Whether ``url`` answers with success."""
    # A proxy of the environment would answer for somebody else.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout_s) as reply:
            return bool(200 <= reply.status < 300)
    except (OSError, ValueError):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_alive(sys.argv[1] if len(sys.argv) > 1 else _URL) else 1)
