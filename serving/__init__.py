"""What someone starts on the collector's host, from the repository root; it needs no torch."""
