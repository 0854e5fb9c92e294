"""What the commands in ``tools/`` do: train, test, train in stages, demo."""
