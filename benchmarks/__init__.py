"""The model zoo, and every peer beside us in one run."""
