"""The page, live: what the collector saw, what the model says of it, and what reviewers say of that."""
