"""Row 4: the whole chain on queues of a real CRIC dump, with either model; the embeddings are made from its fields."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.accept.conftest import Run


@pytest.fixture(scope="module")
def dump(shared_data: Path) -> Path:
    return shared_data / "cric" / "pandaqueue_2019-08-13.json.gz"


@pytest.fixture(scope="module")
def world(dump: Path, tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    place = tmp_path_factory.mktemp("cric")
    run("qad", "simulate", place, "--cric", dump, "--queues", "60", "--days", "16", "--start", "2026-01-05")
    run(
        "qad", "import", place / "store", "--jobs", place / "jobs.parquet", "--cric", place / "cric.json",
        "--downtimes", place / "downtimes.csv",
    )  # fmt: skip
    return place


@pytest.mark.parametrize("model", ["lstm", "tcn"])
def test_the_chain(world: Path, dump: Path, run: Run, model: str) -> None:
    bundle, out = world / f"bundle-{model}", world / f"scores-{model}.parquet"
    run(
        "python", "-m", "training.train", f"store={world / 'store'}", f"bundle={bundle}", f"model={model}",
        "data.start=2026-01-05", "data.end=2026-01-19",
    )  # fmt: skip
    between = ("--start", "2026-01-19", "--end", "2026-01-21")
    run("qad", "backtest", world / "store", "--bundle", bundle, *between, "--out", out)
    known = ("--incidents", world / "incidents.csv", "--downtimes", world / "downtimes.csv")
    run("qad", "evaluate", out, "--store", world / "store", *known)
    run("qad", "review", world / "store", "--bundle", bundle, *between, "--out", world / f"review-{model}.html")

    scores = pq.read_table(out)
    assert len(pc.unique(scores["panda_queue"])) == 60
    living = scores.filter(pc.invert(pc.is_in(scores["reason"].cast("string"), pa.array(["retired", "too_short"]))))
    print(f"{model}: {len(pc.unique(living['panda_queue']))} of 60 queues have jobs")
    assert len(pc.unique(living["panda_queue"])) >= 40
    assert living["score"].is_valid().to_numpy().mean() > 0.9
    assert vocabularies_come_from(dump, bundle)


def vocabularies_come_from(dump: Path, bundle: Path) -> bool:
    """Whether `cloud` and `tier` of the bundle hold values of the real dump, and nothing else."""
    with gzip.open(dump, "rt", encoding="utf-8") as file:
        records = json.load(file).values()
    vocabularies = {
        v["field"]: v["values"] for v in json.loads((bundle / "preprocess.json").read_text())["vocabularies"]
    }
    return all(
        vocabularies[field] and set(vocabularies[field]) <= {str(record.get(field)) for record in records}
        for field in ("cloud", "tier")
    )
