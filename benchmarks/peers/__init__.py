"""What a user would take instead, beside edge-ser: the same audio, one thread, in turn.

``python -m benchmarks.peers`` prints a table; ``--json FILE`` and ``--figure FILE`` keep it.
"""
