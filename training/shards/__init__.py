"""A history that is larger than memory: prepared once, some series at a time, as files that are mapped.

`load` is the door. `manifest` says what shards are of, `days` brings the store's rows to blocks of counts on the disk,
`build` makes them ready, shard by shard, `mapped` reads them like arrays, `files` writes and checks them.
"""
