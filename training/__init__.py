"""What someone starts to train and to compare models; started from the repository root, not part of the wheel."""
