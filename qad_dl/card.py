"""A bundle's card: what it is, what it was made from, how good it is, what it must not be used for; in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qad_dl.causes import SHARED_FIELDS
from qad_dl.labels import EXPECTED, PROBLEM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qad_dl.bundle import Bundle
    from qad_dl.vocab import Vocabulary

BUDGETS: Final = (0.1, 0.01, 0.001)

NAMED: Final = 12
"""Values of a field that are named."""


def card(name: str, bundle: Bundle, report: Mapping[str, Any] | None = None) -> str:
    """The card.

    Args:
        name: of its folder.
        bundle: read and verified.
        report: how it compared with the one in use when it was made.
    """
    parts = [
        f"# Bundle {name}",
        _what(bundle),
        f"## Data\n\n{_data(bundle)}",
        f"## Model\n\n{_model(bundle)}",
        f"## Thresholds\n\n{_thresholds(bundle)}",
        f"## Figures\n\n{_figures(report)}",
        f"## Limits\n\n{_limits(bundle)}",
        f"## Made by\n\n{_made(bundle)}",
    ]
    return "\n\n".join(parts) + "\n"


def _what(bundle: Bundle) -> str:
    preprocess = bundle.preprocess
    chosen = ", ".join(f"{k} = {v}" for k, v in preprocess.select.items()) or "all"
    return (
        f"Scores job counts of {'/'.join(preprocess.entity)} ({chosen}) every {preprocess.tick.minutes} minutes: how "
        "far they are from what the counts before lead one to expect, as the chance that a healthy tick looks as bad. "
        f"Its name in score files is `{bundle.name}`."
    )


def _data(bundle: Bundle) -> str:
    training, preprocess = bundle.manifest.get("training", {}), bundle.preprocess
    own, *fields = preprocess.vocabularies
    rows = [
        ("trained on", f"{training.get('start', '?')} to {training.get('held_out', '?')}"),
        ("held out", f"{training.get('held_out', '?')} to {training.get('end', '?')}"),
        ("calibrated on", f"{training.get('calibration', '?')} to {training.get('end', '?')}"),
        ("left out, since it looks like an incident", _left_out(training.get("suspects"))),
        *_labels(bundle.manifest.get("labels")),
        ("series", str(len(own) - 1)),
        ("groups that new series borrow from", str(len(preprocess.groups))),
        ("states", ", ".join(preprocess.states)),
        *((f"metadata: {v.field}", _values(v)) for v in fields),
    ]
    return _table(("what", "which"), rows)


def _left_out(share: float | None) -> str:
    return "nothing: nobody looked" if share is None else f"{_percent(share)} of the ticks that it learned from"


def _labels(about: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What reviewers' labels did to the data; nothing where they were not asked."""
    if about is None:
        return [("labels", "none were used")]

    def said(part: Mapping[str, Any]) -> str:
        share = _percent(part["share"])
        return f"{part['ranges']} ranges, {part['queue_hours']:.1f} queue-hours, {share} of the ticks"

    return [
        ("labels", f"{about['labels']} of `{about['file']}`, sha256 `{about['sha256']}`"),
        ("left out, labelled as problems", said(about[PROBLEM])),
        ("known to be healthy, labelled as expected", said(about[EXPECTED])),
        (
            "labels without effect",
            f"{about['unsure']} unsure, {about['disputed']} contradicted, {about['unknown']} on no queue of it, "
            f"{about['outside']} on another time",
        ),
    ]


def _values(vocabulary: Vocabulary) -> str:
    named = ", ".join(vocabulary.values[:NAMED])
    more = len(vocabulary.values) - NAMED
    return f"{named} and {more} more" if more > 0 else named or "none was set"


def _model(bundle: Bundle) -> str:
    config = bundle.manifest.get("config", {})
    model, trainer = config.get("model", {}), config.get("trainer", {})
    rows = [(key, str(value)) for key, value in sorted(model.items())]
    rows += [
        (f"trainer: {key}", str(trainer[key])) for key in ("epochs", "learning_rate", "batch_size") if key in trainer
    ]
    rows += [
        ("statistics", ", ".join(bundle.manifest.get("statistics", [])) or "?"),
        ("incidents are told by", _told_by(bundle)),
        ("kinds of incident that it tells", ", ".join(bundle.calibration.kinds) or "none"),
        ("ticks that a score looks back", str(bundle.manifest.get("lookback_ticks", "?"))),
        ("size of the network's file", f"{len(bundle.model) / 1e6:.2f} MB"),
        ("exported model differs from the trained one by", f"{bundle.manifest.get('parity', float('nan')):.1e}"),
    ]  # fmt: skip
    return _table(("setting", "value"), rows)


def _told_by(bundle: Bundle) -> str:
    """What is read of a tick; what the network's doubts differ by is in the manifest since format 6."""
    if bundle.calibration.signatures is None:
        return "how far off counts are, and running jobs that vanish: signatures are not in use"
    doubts = bundle.manifest.get("doubts")
    if doubts is None:
        return "the signatures of errors"
    if bundle.calibration.evidence.doubts:
        return f"the signatures of errors and of how unsure the network is (which differs by {doubts:.2g}, ln)"
    return (
        f"the signatures of errors of the linear part: the network is about as sure of every tick (differs by "
        f"{doubts:.2g}, ln)"
    )


def _thresholds(bundle: Bundle) -> str:
    rows = [(f"{budget:g}", f"{bundle.detection.threshold(budget):.2f}") for budget in BUDGETS]
    return _table(("false alarm episodes a queue-day", "score from which a tick is flagged"), rows)


def _figures(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "It was not compared with another: `qad bundles compare` does."
    old, new, verdict = report["champion"], report["challenger"], report["verdict"]
    text = (
        f"On {report['start']} to {report['end']}, which neither it nor the bundle then in use (`{old['bundle']}`) was "
        f"trained on: {report['queue_days']:g} quiet queue-days, {report['injected']} incidents put into the counts, "
        f"{report['known']} known ones. The {verdict['winner']} won: {verdict['why']}."
    )
    rows: list[tuple[str, ...]] = [
        ("episodes of normal life, times what is promised", _said(new["bulk"]), _said(old["bulk"])),
        ("flags, times the budget, incidents included", _said(new["flags"]), _said(old["flags"])),
        ("queues that it does not know", _percent(new["unknown_share"]), _percent(old["unknown_share"])),
    ]
    for rate, at in new["rates"].items():
        for what in ("injected", "known"):
            other = old["rates"][rate][f"seen_{what}"]
            row = (f"seen of {what}, at {rate} alarms a queue-day", _percent(at[f"seen_{what}"]), _percent(other))
            rows.append(row)
    return f"{text}\n\n{_table(('', 'this one', 'the one then in use'), rows)}"


def _limits(bundle: Bundle) -> str:
    return "\n".join(
        (
            "- It tells that a queue is unlike itself, not whose fault it is; queues with one cause are joined by",
            f"  {', '.join(SHARED_FIELDS[:4])} and other metadata, and by nothing that is not in CRIC.",
            "- A queue that is not among its series is scored as its group is (type, resource type, capability); one",
            "  whose group it does not know either, as all queues are. `qad score` says which.",
            "- A state that it does not know has no say in any score. `qad drift` tells of such states.",
            "- Incidents that nobody labelled and that do not look like one are part of what it was trained on; it was",
            "  calibrated on all that nobody labelled.",
            f"- A queue needs {bundle.preprocess.plan.day // 4} counted ticks before it has a score.",
        )
    )


def _made(bundle: Bundle) -> str:
    manifest = bundle.manifest
    config, training = manifest.get("config", {}), manifest.get("training", {})
    select = ",".join(f"{field}: {value}" for field, value in bundle.preprocess.select.items())
    model, trainer = config.get("model", {}), config.get("trainer", {})
    words = (
        "python -m training.train store=STORE bundle=DIR",
        f"model={model.get('encoder', '?')} trainer.epochs={trainer.get('epochs', '?')}",
        f"data.start={training.get('start', '?')} data.end={training.get('end', '?')} seed={config.get('seed', '?')}",
        f"data.entity='[{','.join(bundle.preprocess.entity)}]'",
        f"data.select='{{{select}}}'" if select else "",
        f"labels={config['labels']}" if config.get("labels") else "",
    )
    command = " ".join(filter(None, words))
    versions = ", ".join(f"{name} {v}" for name, v in sorted(manifest.get("versions", {}).items()))
    return f"    {command}\n\nCommit {manifest.get('commit') or 'not known'}; {versions or 'versions not known'}."


def _said(value: float | None) -> str:
    return "too little to say" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
