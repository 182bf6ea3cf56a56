"""The same network run by torch as it stands and by onnxruntime, each at its best batch size, on one thread."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qad_dl.bundle import read_bundle
from qad_dl.nn.export import PARITY_TOLERANCE
from qad_dl.reconstruction import Model
from qad_dl.store import Store
from training.bench.network import best_s
from training.bench.windows import real_windows

if TYPE_CHECKING:
    from collections.abc import Mapping


def compare_eager(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Windows per second of processor time of both, by batch size.

    Args:
        inputs: `store`, `bundle`, `run` with the checkpoint of its training, `at`, `batches`, `seconds`.

    Raises:
        RuntimeError: they do not say the same.
    """
    import torch

    from qad_dl.nn.lightning_module import AutoencoderModule

    torch.set_num_threads(1)
    bundle = read_bundle(Path(inputs["bundle"]))
    module = AutoencoderModule.load_from_checkpoint(Path(inputs["run"]) / "best.ckpt", weights_only=True)
    network = module.network.eval()
    model, views = bundle.manifest["config"]["model"], bundle.manifest["horizons"]
    network.own_spread = model["spread"] == "own"
    network.own_views = tuple(model["horizons"].index(h) for h in views[len(model["horizons"]) :])
    sizes = sorted(int(b) for b in inputs["batches"])
    at = np.datetime64(inputs["at"], "s")
    windows = real_windows(Store.open(Path(inputs["store"])), bundle.preprocess, at, max(sizes))
    session, out = Model(bundle.model, 1).session, []
    for size in sizes:
        feeds = {name: np.ascontiguousarray(array[:size]) for name, array in windows.feeds().items()}
        tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
        with torch.inference_mode():
            said, _ = network(**tensors)
            eager = best_s(partial(network, **tensors), inputs["seconds"])
        got = session.run(["reconstruction"], feeds)[0]
        if not float(np.abs(said.numpy() - got).max()) <= PARITY_TOLERANCE:
            msg = f"torch and onnxruntime differ at a batch of {size}"
            raise RuntimeError(msg)
        ours = best_s(partial(session.run, ["reconstruction", "spread"], feeds), inputs["seconds"])
        out.append({"batch": size, "eager_per_s": size / eager, "onnxruntime_per_s": size / ours})
    best = {name: max(float(one[name]) for one in out) for name in ("eager_per_s", "onnxruntime_per_s")}
    return {"batches": out, **best, "times": best["onnxruntime_per_s"] / best["eager_per_s"]}
