"""Everything that decides how a whole-utterance model turns out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from edge_ser.models.cross_attention import CrossAttentionConfig
from edge_ser.models.depth_weighted import DepthWeightedConfig
from edge_ser.training.fit import FitSettings

__all__ = ["TeacherRecipe"]


@dataclass(frozen=True)
class TeacherRecipe:
    """Everything that decides how a teacher turns out.

    Attributes:
        model: ``cross-attention`` or ``depth-weighted``.
        config: shape of the model; what depends on the features is filled in from them.
        acoustic: acoustic branch of the cross-attention model, a name of ``ACOUSTICS``.
        encoder: speech encoder of the semantic branch, see ``open_encoder``.
        layers: its hidden states to take, None for all.
        unfreeze: top blocks of a transformers encoder that the cross-attention model trains too.
        functionals: give the cross-attention model's classifier the eGeMAPS functionals.
        copies: augmented copies of every training clip.
        rooms: other rooms, microphones and noise in the copies; without, only other voices.
        linear: a linear classifier of whole clips has half of the say in the end: ``vote`` or
            ``wide``, see ``LinearMember``; empty for none.
        window_s: longest crop in training.
        members: models of different seeds whose probabilities are averaged.
        validation_share: of the training speakers (or clips, where folds are random) for the
            choice of the epoch; 0 keeps the averaged weights of the last epoch.
    """

    model: str
    config: CrossAttentionConfig | DepthWeightedConfig
    acoustic: str = "mfcc"
    encoder: str = "moonshine"
    layers: tuple[int, ...] | None = None
    unfreeze: int = 0
    functionals: bool = False
    copies: int = 0
    rooms: bool = True
    linear: str = ""
    window_s: float = 3.0
    batch_size: int = 8
    n_masks: int = 0
    smoothing: float = 0.1
    members: int = 1
    validation_share: float = 0.0
    fit: FitSettings = field(
        default_factory=lambda: FitSettings(epochs=40, learning_rate=1e-3, ema=0.995)
    )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "config": self.config.to_dict()}
