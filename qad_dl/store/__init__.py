"""The embedded history: a folder of Parquet files that several processes read while others write.

`embedded` holds the store, `log` how files are published and superseded without locks, `dayfile` one file of rows,
`dumps` the history of the metadata.
"""

from qad_dl.store.embedded import Store

__all__ = ["Store"]
