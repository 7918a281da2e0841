"""Speech emotion recognition on edge devices.

``edge_ser.runtime`` streams audio through a model pack; ``edge_ser.models``,
``edge_ser.training`` and ``edge_ser.converters`` make such packs on a host.
Importing this package imports nothing else. It turns ONNX Runtime's telemetry off, which its
official Linux builds send to Microsoft from version 1.29 on (``ORT_DISABLE_TELEMETRY``).
"""

from os import environ
from os.path import dirname, isfile, join

__version__ = "0.1.0"

__all__ = ["__version__"]

# Read once, when onnxruntime makes its environment; a value that is there already is respected.
environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# In a checkout, runtime/, converters/ and calibration/ stand beside this folder instead of in
# it; let them be found under their installed names when Python starts there.
_checkout = dirname(dirname(__file__))
if isfile(join(_checkout, "pyproject.toml")) and isfile(join(_checkout, "runtime", "stream.py")):
    __path__.append(_checkout)
