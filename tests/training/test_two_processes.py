"""The loop in two processes, as ``torchrun`` starts it: shares, metrics, checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

PROGRAM = """
import json, sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np, torch
from torch import Tensor, nn
from lightning_fabric import Fabric
from edge_ser.training.fit import FitSettings, fit

@dataclass(frozen=True)
class Rows:
    x: Tensor
    y: Tensor
    ids: tuple

class Batches:
    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((44, 6)).astype(np.float32)
        self.y = (self.x @ rng.standard_normal(6) > 0).astype(np.int64)
    def __len__(self):
        return 11
    def epoch(self, rng):
        for rows in rng.permutation(44).reshape(11, 4):
            yield Rows(torch.tensor(self.x[rows]), torch.tensor(self.y[rows]), tuple(rows.tolist()))

seen, validations = [], []

def loss(model, batch, rng):
    rng.random(int(rng.integers(1, 9)))  # draws as it likes; the shares must not notice
    seen.append(batch.ids)
    return nn.functional.cross_entropy(model(batch.x), batch.y)

batches = Batches()

def validate(model):
    validations.append(1)
    with torch.no_grad():
        return float((model(torch.tensor(batches.x)).argmax(1).numpy() == batches.y).mean())

out, epochs, resume = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "resume"
fabric = Fabric(accelerator="cpu", devices=1, num_nodes=2, strategy="ddp")
fabric.launch()
torch.manual_seed(7 + fabric.global_rank)  # the loop has to make the weights agree
model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))
settings = FitSettings(epochs=epochs, learning_rate=1e-2, ema=0.9, seed=3)
fitted = fit(model, batches, loss, validate, settings, out / "state.pt", resume=resume, fabric=fabric)
weights = {k: v.flatten().tolist() for k, v in fitted.model.state_dict().items()}
report = dict(seen=seen, validations=len(validations), weights=weights, epoch=fitted.epoch,
              history=[{k: v for k, v in r.items() if k != "seconds"} for r in fitted.history])
(out / f"rank{fabric.global_rank}.json").write_text(json.dumps(report))
# Leave together: a process that ends while gloo's threads still run is aborted by the C++ runtime.
fabric.barrier()
torch.distributed.destroy_process_group()
"""


def run_two(folder: Path, epochs: int, resume: str = "new") -> list[dict]:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    import os

    processes = [
        subprocess.Popen(
            [sys.executable, str(folder / "program.py"), str(folder), str(epochs), resume],
            env={
                **os.environ,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "WORLD_SIZE": "2",
                "RANK": str(rank),
                "LOCAL_RANK": "0",
                "NODE_RANK": str(rank),
                "GROUP_RANK": str(rank),
                "LOCAL_WORLD_SIZE": "1",
                "OMP_NUM_THREADS": "1",
                "TORCHELASTIC_RUN_ID": "test",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_share_the_work_and_agree(tmp_path: Path) -> None:
    first, second = run_two(tmp_path / "whole", 4)
    # 11 batches make 5 rounds of two: no batch twice, none in both, and none beyond.
    assert len(first["seen"]) == len(second["seen"]) == 4 * 5
    for epoch in range(4):
        shares = [r["seen"][5 * epoch : 5 * epoch + 5] for r in (first, second)]
        clips = [clip for share in shares for batch in share for clip in batch]
        assert len(clips) == len(set(clips)) == 40
    assert (first["validations"], second["validations"]) == (4, 0)
    assert first["history"] == second["history"]
    assert first["epoch"] == second["epoch"]
    for name, values in first["weights"].items():
        assert values == pytest.approx(second["weights"][name], abs=1e-6), name
    assert first["history"][-1]["loss"] < first["history"][0]["loss"]

    run_two(tmp_path / "halves", 2)
    resumed, _ = run_two(tmp_path / "halves", 4, "resume")
    assert [record["epoch"] for record in resumed["history"]] == [1, 2, 3, 4]
    assert len(resumed["seen"]) == 2 * 5  # only what was left
