"""Cross-attention fusion of acoustic and semantic features, as a whole-utterance model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edge_ser.labels import SIX_LABELS, check_labels
from edge_ser.models.tuned_top import TunedTop
from edge_ser.models.utterance import (
    AttentivePool,
    Standardise,
    TransformerBlock,
    check_width,
    halve_mask,
    pool_frames,
    pool_tokens,
    positions,
)

__all__ = ["CrossAttentionConfig", "CrossAttentionModel"]


@dataclass(frozen=True)
class CrossAttentionConfig:
    """Shape of the model; the defaults are the reconstruction at full size.

    The publication tells no sizes: these are ours. Dropout is left to the recipe.

    Attributes:
        acoustic_rows: rows of the acoustic features, 40 for MFCC, 201 for a spectrogram.
        semantic_layers: hidden states of the speech encoder that are weighted and summed.
        semantic_width: width of a hidden state.
        two_way: also let the semantic branch attend to the acoustic one.
        feature_encoder: convolutions before the acoustic self-attention; without them the
            frames are only projected (in pairs), as in the forerunner CA-SER.
        pool: tokens of either branch (50 and, of most encoders, 40 to 50 a second) that are
            averaged into one before anything attends: 2 costs half as much.
        utterance_rows: hand-crafted values of the whole clip (eGeMAPS functionals) that join
            at the classifier, 0 for none. This is no part of the publication.
    """

    labels: tuple[str, ...] = SIX_LABELS
    acoustic_rows: int = 40
    semantic_layers: int = 13
    semantic_width: int = 768
    width: int = 256
    heads: int = 8
    feed_forward: int = 512
    blocks: int = 2
    two_way: bool = True
    feature_encoder: bool = True
    pool: int = 1
    utterance_rows: int = 0
    hidden: int = 128
    dropout: float = 0.0
    head_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_width(self.width, self.heads)
        if self.pool < 1:
            raise ValueError(f"pool must be at least 1, got {self.pool}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "labels": list(self.labels)}


class CrossAttentionModel(nn.Module):
    """A reconstruction of "CA-SER with a feature encoder" (Deeb et al., IEEE Access 2025).

    Public are: MFCC or spectrograms through a feature encoder and self-attention, states of
    a pretrained speech encoder, multi-head cross-attention between the two. Sizes, layers
    and the pooling are ours.
    """

    def __init__(self, config: CrossAttentionConfig) -> None:
        super().__init__()
        c = self.config = config
        self.tuned: TunedTop | None = None
        """Top blocks of the speech encoder, where they are trained too; put here by its maker."""
        self.standardise = Standardise(c.acoustic_rows)
        if c.feature_encoder:
            self.encoder: nn.Module = nn.Sequential(
                nn.Conv1d(c.acoustic_rows, c.width, 5, padding=2, bias=False),
                nn.BatchNorm1d(c.width),
                nn.GELU(),
                nn.Conv1d(c.width, c.width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm1d(c.width),
                nn.GELU(),
            )
        else:
            self.encoder = nn.Conv1d(c.acoustic_rows, c.width, 3, stride=2, padding=1)
        self.self_attention = nn.ModuleList(self._block() for _ in range(c.blocks))
        self.semantic_standardise = Standardise(c.semantic_layers * c.semantic_width)
        self.layer_logits = nn.Parameter(torch.zeros(c.semantic_layers))
        self.project = nn.Sequential(
            nn.Dropout(c.dropout), nn.Linear(c.semantic_width, c.width), nn.LayerNorm(c.width)
        )
        self.acoustic_attends = self._block(cross=True)
        self.semantic_attends = self._block(cross=True) if c.two_way else None
        self.acoustic_pool = AttentivePool(c.width)
        self.semantic_pool = AttentivePool(c.width)
        fused = 2 * c.width
        self.utterance: nn.Module | None = None
        if c.utterance_rows:
            self.utterance_standardise = Standardise(c.utterance_rows)
            self.utterance = nn.Sequential(
                nn.Dropout(c.head_dropout), nn.Linear(c.utterance_rows, c.hidden), nn.ReLU()
            )
            fused += c.hidden
        self.head = nn.Sequential(
            nn.Dropout(c.head_dropout),
            nn.Linear(fused, c.hidden),
            nn.ReLU(),
            nn.Dropout(c.head_dropout),
            nn.Linear(c.hidden, len(c.labels)),
        )

    def _block(self, *, cross: bool = False) -> TransformerBlock:
        c = self.config
        return TransformerBlock(c.width, c.heads, c.feed_forward, c.dropout, cross=cross)

    def layer_weights(self) -> Tensor:
        """Learnt weights of the speech encoder's layers, which sum to 1."""
        return torch.softmax(self.layer_logits, dim=0)

    def forward(
        self,
        acoustic: Tensor,
        acoustic_mask: Tensor,
        semantic: Tensor,
        semantic_mask: Tensor,
        utterance: Tensor | None = None,
    ) -> Tensor:
        """Logits ``(batch, labels)`` of whole clips.

        Args:
            acoustic: ``(batch, rows, frames) float32`` at 100 Hz.
            acoustic_mask: ``(batch, frames) bool``, true within the clip.
            semantic: ``(batch, layers, width, states) float32``, at the encoder's own rate.
            semantic_mask: ``(batch, states) bool``.
            utterance: ``(batch, utterance_rows) float32`` where the model has such rows.
        """
        c = self.config
        x = self.standardise(acoustic) * acoustic_mask[:, None]
        if isinstance(self.encoder, nn.Sequential):
            # What the first convolution makes of the padding must not leak into the second.
            x = self.encoder[:3](x) * acoustic_mask[:, None]
            own = self.encoder[3:](x).transpose(1, 2)
        else:
            own = self.encoder(x).transpose(1, 2)
        own, own_mask = pool_tokens(own, halve_mask(acoustic_mask), c.pool)
        own = own + positions(own.shape[1], c.width, own.device)
        for block in self.self_attention:
            own = block(own, own_mask)
        # Layers, and the values of one layer, differ widely in scale: level them before they
        # are mixed. Averaged first, for that is most of the work.
        if self.tuned is not None:
            semantic = self.tuned(semantic, semantic_mask)
        flat = semantic.flatten(1, 2)
        flat, semantic_mask = pool_frames(flat, semantic_mask, c.pool)
        states = self.semantic_standardise(flat).reshape(*semantic.shape[:3], -1)
        mixed = torch.einsum("l,blwt->btw", self.layer_weights(), states)
        other = self.project(mixed)
        heard = self.acoustic_attends(own, semantic_mask, other)
        meant = other
        if self.semantic_attends is not None:
            meant = self.semantic_attends(other, own_mask, own)
        parts = [self.acoustic_pool(heard, own_mask), self.semantic_pool(meant, semantic_mask)]
        if self.utterance is not None:
            if utterance is None:
                raise ValueError("this model needs the values of the whole clip")
            parts.append(self.utterance(self.utterance_standardise(utterance)))
        logits: Tensor = self.head(torch.cat(parts, dim=1))
        return logits
