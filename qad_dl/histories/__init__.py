"""Histories by address: a store in a folder or on object storage, or QMonit's InfluxDB, behind one protocol.

`protocol` says what scoring, training and evaluation ask of a history; `opening` opens whichever an address names.
"""

from qad_dl.histories.opening import open_history
from qad_dl.histories.protocol import History

__all__ = ["History", "open_history"]
