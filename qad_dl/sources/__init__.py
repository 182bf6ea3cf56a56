"""Where job counts and metadata come from."""
