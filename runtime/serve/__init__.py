"""The service: events of the local microphone and of streamed audio, over HTTP and WebSocket."""

from __future__ import annotations

from edge_ser.runtime.serve.bus import Bus, Client
from edge_ser.runtime.serve.service import Service, ServiceSettings

__all__ = ["Bus", "Client", "Service", "ServiceSettings"]
