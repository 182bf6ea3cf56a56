"""From labels to a proposal of what to tune, with what it would change, before anything is."""
