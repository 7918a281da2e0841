"""The top blocks of a pretrained speech encoder, trained with the model that hears them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["TunedTop"]


class TunedTop(nn.Module):
    """Finds the states of an encoder's last layers anew from the frozen state below them.

    What lies below is computed once and kept, so only these blocks cost anything in training.

    Args:
        blocks: the last blocks, which take ``(batch, n, width)`` and an additive mask.
        norm: what follows the last block, of encoders that end with a layer norm.
    """

    def __init__(self, blocks: nn.ModuleList, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks, self.norm = blocks, norm

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``states`` ``(batch, layers, width, n)`` with the last ones replaced.

        Args:
            states: of the layers up to the encoder's last one, with the layer below the blocks.
            mask: ``(batch, n) bool``, true within the clip.
        """
        beyond = torch.zeros_like(mask, dtype=states.dtype)
        beyond = beyond.masked_fill(~mask, torch.finfo(states.dtype).min)
        bias = beyond[:, None, None].expand(-1, 1, mask.shape[1], -1)
        below = states.shape[1] - len(self.blocks)
        x = states[:, below - 1].transpose(1, 2)
        found = []
        for block in self.blocks:
            given = block(x, attention_mask=bias)
            x = given[0] if isinstance(given, tuple) else given  # up to transformers 4
            found.append(x)
        if self.norm is not None:
            found[-1] = self.norm(x)
        anew = torch.stack(found, dim=1).transpose(2, 3)
        return torch.cat([states[:, :below], anew], dim=1)
