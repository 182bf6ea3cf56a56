"""The embedded history: a folder of Parquet files that several processes read while others write.

`embedded` holds the store, `log` how files are published and superseded without locks, `daylog` the log of a day's
rows, `dayfile` one file of them, `dumps` the history of the metadata, `downtimes` the declared downtimes.
"""

from qad_dl.store.embedded import Store

__all__ = ["Store"]
