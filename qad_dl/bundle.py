"""The frozen artefact: a folder with the model and all that was learned beside it, verified when it is read.

```
model.onnx         the network                       calibration.json   errors to probabilities
prime.onnx         the same for one tick, with what the next tick reads of it; and
step.onnx          for one tick from what was kept of those before it; or neither
preprocess.json    ticks to windows                  detection.json     budget to threshold
manifest.json      format version, hash of every file, training period, commit, versions, resolved config
manifest.sha256    hash of manifest.json
```
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qad_dl.atomic import replace_directory
from qad_dl.calibration import Calibration
from qad_dl.detection import Detection
from qad_dl.errors import BundleError
from qad_dl.lanes import Lane
from qad_dl.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMAT_VERSION: Final = 6

READABLE: Final = (3, 4, 5, FORMAT_VERSION)
"""Formats that are read: in 3 all numbers were decimals, up to 4 each series was judged by itself, up to 5 nobody
asked how unsure the network is."""

ERRORS: Final = "errors"
"""The name of errors among what is made of a tick."""

MODEL: Final = "model.onnx"
PRIME: Final = "prime.onnx"
STEP: Final = "step.onnx"
PARTS: Final = ("preprocess.json", "calibration.json", "detection.json")
MANIFEST: Final = "manifest.json"
SEAL: Final = "manifest.sha256"

BEFORE: Final = "before_"
"""With the name of a lane, the input of `step.onnx` that takes what was kept of it."""


class Stream(NamedTuple):
    """The network for one tick at a time.

    Attributes:
        prime: bytes of the ONNX file that starts from a window.
        step: bytes of the one that goes on from what was kept.
        lanes: what is kept, by name.
    """

    prime: bytes
    step: bytes
    lanes: Mapping[str, Lane]


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        model: the ONNX file's bytes.
        preprocess: ticks to windows.
        calibration: errors to probabilities.
        detection: budget to threshold.
        manifest: as in `manifest.json`.
        name: short hash of the manifest, written into every score file.
        stream: the network for one tick at a time; None where it cannot be cut down so.
    """

    model: bytes
    preprocess: Preprocess
    calibration: Calibration
    detection: Detection
    manifest: Mapping[str, Any]
    name: str
    stream: Stream | None = None

    @property
    def display_horizon(self) -> int:
        """Index of the horizon that people are shown: the one that hides most and so follows an anomaly last."""
        horizons = list(self.manifest["horizons"])
        return int(horizons.index(max(horizons)))

    @property
    def sight(self) -> int:
        """The newest ticks of a grid whose counts the score of its last one looks at."""
        return 1 + self.calibration.reach + self.preprocess.plan.length

    @property
    def recent(self) -> int:
        """The newest ticks that the score of the last one looks at where the errors of those before it are known.

        Where the last one's context begins with nothing that was observed, it looks at `window` ticks.
        """
        plan = self.preprocess.plan
        return 1 + max(plan.context, plan.day, self.calibration.reach + plan.grace)

    @cached_property
    def made(self) -> dict[str, Lane]:
        """What is made of a tick and looked at by the scores of later ones, by name.

        The errors; what the signatures' convolutions read; and what the network's layers read.
        """
        return {**self.judged, **({} if self.stream is None else self.stream.lanes)}

    @cached_property
    def judged(self) -> dict[str, Lane]:
        """`made`, less what the network reads: what a tick is judged by, however it was reconstructed."""
        calibration, signatures = self.calibration, self.calibration.signatures
        given = len(self.manifest["horizons"]) + len(calibration.evidence.doubts)
        lanes = {ERRORS: Lane.of_all(given * len(self.preprocess.states), calibration.evidence.ticks - 1)}
        if signatures is not None:
            width, course = signatures.enter.shape[1], signatures.course
            lanes |= {f"course_{i}": Lane(width, tuple(one.lags()[:-1])) for i, one in enumerate(course)}
        return lanes

    @property
    def window(self) -> int:
        """The newest ticks that hold the whole window of the last one, and `recent` ones."""
        return max(self.recent, self.preprocess.plan.length)


def write_bundle(
    path: Path,
    model: bytes,
    preprocess: Preprocess,
    calibration: Calibration,
    detection: Detection,
    about: Mapping[str, Any],
    stream: Stream | None = None,
) -> str:
    """Write a whole bundle as `path`, in place of one that may be there, and return its name.

    Args:
        path: folder of the bundle.
        model: bytes of the ONNX file.
        preprocess: fitted.
        calibration: fitted on held-out time with the errors of `model`.
        detection: fitted likewise.
        about: goes into the manifest: `horizons`, training period, versions, config, ...
        stream: the network for one tick at a time; None to do without.
    """
    parts = (preprocess.to_json(), calibration.to_json(), detection.to_json())
    contents = {MODEL: model, **{name: _json(part) for name, part in zip(PARTS, parts, strict=True)}}
    if stream is not None:
        contents |= {PRIME: stream.prime, STEP: stream.step}
        about = {**about, "lanes": [[name, lane.width, list(lane.lags)] for name, lane in stream.lanes.items()]}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[MANIFEST] = _json({"format_version": FORMAT_VERSION, "files": hashes, **about})
    seal = hashlib.sha256(contents[MANIFEST]).hexdigest()
    contents[SEAL] = f"{seal}\n".encode()
    with replace_directory(path) as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return seal[:12]


def read_bundle(path: Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: no bundle there, another format version, or a file that is missing or not as it was written; the
            file is named.
    """
    manifest_bytes = _read(path, MANIFEST)
    manifest = _parse(path, MANIFEST, manifest_bytes)
    version = manifest.get("format_version")
    if version not in READABLE:
        wanted = " or ".join(map(str, READABLE))
        msg = f"{path / MANIFEST}: format version {version!r}, wanted {wanted}: train the bundle again"
        raise BundleError(msg)
    seal = hashlib.sha256(manifest_bytes).hexdigest()
    if _read(path, SEAL) != f"{seal}\n".encode():
        raise BundleError(_changed(path / MANIFEST, f"its hash is not the one in {SEAL}"))
    contents = {name: _verified(path, name, manifest) for name in (MODEL, *PARTS)}
    try:
        preprocess, calibration, detection = (json.loads(contents[name]) for name in PARTS)
        return Bundle(
            model=contents[MODEL],
            preprocess=Preprocess.from_json(preprocess),
            calibration=Calibration.from_json(calibration),
            detection=Detection.from_json(detection),
            manifest=manifest,
            name=seal[:12],
            stream=_stream(path, manifest) if STEP in manifest["files"] else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: its parts are whole but cannot be understood ({error!r}): train the bundle again"
        raise BundleError(msg) from error


def _stream(path: Path, manifest: Mapping[str, Any]) -> Stream:
    lanes = {name: Lane(int(width), tuple(map(int, lags))) for name, width, lags in manifest["lanes"]}
    return Stream(_verified(path, PRIME, manifest), _verified(path, STEP, manifest), lanes)


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _read(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "is missing" if path.is_dir() else "there is no bundle"
        msg = f"{path / name}: {what}; give the folder that training wrote (bundle=DIR)"
        raise BundleError(msg) from None
    except OSError as error:
        msg = f"{path / name}: cannot be read ({error.strerror}); give a bundle that this user may read"
        raise BundleError(msg) from error


def _parse(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError:
        raise BundleError(_changed(path / name, "it is not JSON")) from None
    if not isinstance(data, dict):
        raise BundleError(_changed(path / name, "it is not a JSON object"))
    return data


def _verified(path: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    content = _read(path, name)
    if hashlib.sha256(content).hexdigest() != manifest["files"].get(name):
        raise BundleError(_changed(path / name, f"its hash is not the one in {MANIFEST}"))
    return content


def _changed(file: Path, how: str) -> str:
    return f"{file}: was changed after the bundle was written ({how}); restore the bundle or train it again"
