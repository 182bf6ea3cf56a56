"""The peers: other ways to score the same history, in the same run, under the same calibration.

`peer_scores` is the door. A new peer is one file here with a function of the form of `protocol.Fit`, and a line in
`PEERS`.
"""

from training.peers.run import PEERS, peer_names, peer_scores

__all__ = ["PEERS", "peer_names", "peer_scores"]
