"""The trained network without what it knows of the queues' metadata: every metadata id is 0, unknown; calibrated anew.

`no_ids` is the model of which nobody knows any metadata: of queues whose site is unknown it is not known either who
else is there, and each is judged by itself. `no_embeddings` is the network alone without them: who shares what with
whom is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from training.quality.bundles import overrides_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qad_dl.nn.modules import MaskedAutoencoder
    from training.quality.parts import Made

WITHOUT_IDS: Final = {"no_ids": ("calibration.shared=[]",), "no_embeddings": ()}
"""Variants that are the default bundle with all metadata ids 0, and how each is calibrated."""


def make_no_ids(place: Path, inputs: Mapping[str, Any], made: Mapping[str, Made]) -> dict[str, Any]:
    """A bundle from the weights of another; `inputs` are those of that one, `made` the world and that bundle."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    from qad_dl.nn.lightning_module import AutoencoderModule
    from training.fit import in_use
    from training.freeze import freeze
    from training.period import load_period
    from training.settings import read_settings
    from training.start import CONFIGS

    world, bundle = made.values()
    GlobalHydra.instance().clear()  # this program's own configuration has been read by now
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = read_settings(hydra.compose("train", overrides_of(place, inputs, world.place)))
    period = load_period(settings)
    checkpoint = bundle.place / "run" / "best.ckpt"
    trained = AutoencoderModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).network
    network = in_use(trained, settings)
    forget_ids(network)
    return {"bundle": freeze(settings, period, network)}


def forget_ids(network: MaskedAutoencoder) -> None:
    """Give every metadata value the embedding of the unknown one, id 0; series that have one keep their own."""
    import torch

    with torch.no_grad():
        for embedding in network.of_metadata:
            embedding.weight.copy_(embedding.weight[:1].expand_as(embedding.weight))
