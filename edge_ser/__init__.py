"""Speech emotion recognition on edge devices.

``edge_ser.runtime`` streams audio through a model pack; ``edge_ser.models``,
``edge_ser.training`` and ``edge_ser.converters`` make such packs on a host.
Importing this package imports nothing else.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
