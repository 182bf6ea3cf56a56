"""Which functions belong to which part of a process: `module:name`, part. A test finds them all there."""

from __future__ import annotations

from typing import Final

Hooks = tuple[tuple[str, str], ...]

TICK: Final[Hooks] = (
    ("qad_dl.scorer:read_bundle", "bundle"),
    ("qad_dl.reconstruction:_session", "bundle"),
    ("qad_dl.store:Store.metadata", "metadata"),
    ("qad_dl.store:Store.downtimes", "metadata"),
    ("qad_dl.backtest:read_history", "read"),
    ("qad_dl.store:Store.pieces", "read"),
    ("qad_dl.backtest:build_grid", "grid"),
    ("qad_dl.preprocess:Preprocess.prepare", "prepare"),
    ("qad_dl.preprocess:Preprocess.cut", "windows"),
    ("qad_dl.reconstruction:Model.run", "network"),
    ("qad_dl.judging:errors_of", "calibration"),
    ("qad_dl.judging:reasons", "calibration"),
    ("qad_dl.calibration:Calibration.judge", "calibration"),
    ("qad_dl.calibration:Calibration.score", "calibration"),
    ("qad_dl.calibration:Calibration.leading", "calibration"),
    ("qad_dl.scores_file:scores_table", "write"),
    ("qad_dl.scores_file:write_table", "write"),
)
"""Of a tick or a range that is scored from a store."""

KEPT: Final[Hooks] = (
    ("qad_dl.scorer:read_bundle", "bundle"),
    ("qad_dl.reconstruction:_session", "bundle"),
    ("qad_dl.store:Store.metadata", "metadata"),
    ("qad_dl.store:Store.downtimes", "metadata"),
    ("qad_dl.store:Store.added", "read"),
    ("qad_dl.carrying:load", "what is kept"),
    ("qad_dl.rolling:Rolling.grid", "what is kept"),
    ("qad_dl.rolling:Rolling.made", "what is kept"),
    ("qad_dl.rolling:Rolling.keep_made", "what is kept"),
    ("qad_dl.rolling:Rolling.save", "what is kept"),
    ("qad_dl.carrying:_through", "the tick's column"),
    ("qad_dl.preprocess:Preprocess.prepare", "prepare"),
    ("qad_dl.preprocess:Preprocess.cut", "windows"),
    ("qad_dl.reconstruction:Model.run", "network"),
    ("qad_dl.judging:errors_of", "calibration"),
    ("qad_dl.judging:reasons", "calibration"),
    ("qad_dl.calibration:Calibration.judge", "calibration"),
    ("qad_dl.calibration:Calibration.score", "calibration"),
    ("qad_dl.calibration:Calibration.leading", "calibration"),
    ("qad_dl.scores_file:scores_table", "write"),
    ("qad_dl.scores_file:write_table", "write"),
)
"""Of a tick that finds what the one before it kept."""

RANGE: Final[Hooks] = (
    ("qad_dl.preprocess:Preprocess.prepare", "prepare"),
    ("qad_dl.preprocess:Preprocess.cut", "windows"),
    ("qad_dl.reconstruction:Model.run", "network"),
    ("qad_dl.calibration:Calibration.judge", "calibration"),
    ("qad_dl.calibration:Calibration.leading", "calibration"),
    ("qad_dl.judging:Judge._details", "details"),
)
"""Of a grid that is scored."""

IMPORT: Final[Hooks] = (
    ("qad_dl.history:load_jobs", "read and check"),
    ("qad_dl.store.daylog:merge_rows", "sort and merge"),
    ("qad_dl.store.daylog:encode", "encode"),
    ("qad_dl.store.log:Log.publish", "write"),
)
"""Of `qad import`."""

READ: Final[Hooks] = (
    ("qad_dl.store:Store.metadata", "metadata"),
    ("qad_dl.store:Store.downtimes", "metadata"),
    ("qad_dl.store:Store.pieces", "rows"),
)
"""Of reading a grid from a store."""

TRAINING: Final[Hooks] = (
    ("qad_dl.nn.data:BatchStream.__iter__", "loading"),
    ("pytorch_lightning:Trainer.fit", "learning"),
)
"""Of a training."""
