"""Row 10: the model reads the metadata: another cloud, another reconstruction; unknown clouds are all alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accept.conftest import Run

START, END = "2026-01-20T00:00:00", "2026-01-20T06:00:00"
FIRST_DAY_NEEDED = np.datetime64("2026-01-12T00:00:00", "s")


@pytest.fixture(scope="module")
def queue(demo: Path) -> str:
    """A queue with jobs in every tick that is scored throughout."""
    table = pq.read_table(demo / "scores.parquet")
    scored = table.filter(table["score"].is_valid()).group_by("panda_queue").aggregate([("time", "count")])
    return str(max(scored.to_pylist(), key=lambda row: row["time_count"])["panda_queue"])


@pytest.fixture(scope="module")
def jobs(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight days that the scores look at."""
    path = tmp_path_factory.mktemp("jobs") / "jobs.parquet"
    table = pq.read_table(demo / "world" / "jobs.parquet")
    times = table["time"].cast(pa.timestamp("s", "UTC")).to_numpy().astype("datetime64[s]")
    pq.write_table(table.filter(pa.array((times >= FIRST_DAY_NEEDED) & (times < np.datetime64(END)))), path)
    return path


@pytest.fixture(scope="module")
def clouds(demo: Path) -> list[str]:
    """The clouds that the bundle knows."""
    preprocess = json.loads((demo / "bundle" / "preprocess.json").read_text(encoding="utf-8"))
    (values,) = (v["values"] for v in preprocess["vocabularies"] if v["field"] == "cloud")
    return list(values)


def reconstruct(run: Run, demo: Path, jobs: Path, place: Path, queue: str, cloud: str | None) -> np.ndarray:
    """What the model expects of `queue` when its cloud is `cloud`, or what CRIC says: [rows] jobs."""
    place.mkdir()
    records = json.loads((demo / "world" / "cric.json").read_text(encoding="utf-8"))
    if cloud is not None:
        records[queue]["cloud"] = cloud
    (place / "cric.json").write_text(json.dumps(records), encoding="utf-8")
    run("qad", "import", place / "store", "--jobs", jobs, "--cric", place / "cric.json")
    run(
        "qad", "backtest", place / "store", "--bundle", demo / "bundle", "--start", START, "--end", END,
        "--queue", queue, "--details", "--out", place / "scores.parquet",
    )  # fmt: skip
    assert pq.read_table(place / "scores.parquet")["score"].null_count == 0
    return pq.read_table(place / "scores.details.parquet")["reconstruction"].to_numpy()


def test_the_cloud_matters_and_unknown_ones_are_alike(
    demo: Path, jobs: Path, queue: str, clouds: list[str], tmp_path: Path, run: Run
) -> None:
    own = json.loads((demo / "world" / "cric.json").read_text(encoding="utf-8"))[queue]["cloud"]
    other = next(cloud for cloud in clouds if cloud != own)
    names = {"as it is": None, "same": own, "other": other, "new": "ATLANTIS", "newer": "LEMURIA"}
    said = {name: reconstruct(run, demo, jobs, tmp_path / name, queue, cloud) for name, cloud in names.items()}
    change = np.abs(said["other"] - said["as it is"]).max()
    unknown = np.abs(said["new"] - said["as it is"]).max()
    print(f"{queue}: {own} -> {other} moves the reconstruction by up to {change:.3g} jobs, unknown by {unknown:.3g}")
    assert np.array_equal(said["same"], said["as it is"])
    assert change > 1e-3
    assert unknown > 1e-3
    assert np.array_equal(said["new"], said["newer"])
