"""Pretrained speech encoders: what they hear in a clip, layer by layer."""

from __future__ import annotations

from edge_ser.training.semantic.encoder import SemanticEncoder, open_encoder, unfrozen_top
from edge_ser.training.semantic.ort import OrtEncoder
from edge_ser.training.semantic.states import EncoderStates, encoder_states
from edge_ser.training.semantic.transformers import TransformersEncoder

__all__ = [
    "EncoderStates",
    "OrtEncoder",
    "SemanticEncoder",
    "TransformersEncoder",
    "encoder_states",
    "open_encoder",
    "unfrozen_top",
]
