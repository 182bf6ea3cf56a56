"""Telling people: what happened goes into the outbox, and from there to each sink, in words."""
