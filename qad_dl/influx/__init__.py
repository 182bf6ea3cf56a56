"""InfluxDB 1.x in QMonit's schema: as a source of history, and as the place where Grafana finds jobs beside scores.

`line` writes points as text, `client` talks to a server, `qmonit` knows QMonit's measurements, `history` reads them,
`sink` writes them.
"""
