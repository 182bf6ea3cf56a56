"""What reviewers taught: thresholds of groups of queues, and an order of incidents. Never a score.

`file` keeps it beside its bundle, and whatever flags or orders reads it from there; `qad_dl.proposal` makes it.
"""
