"""How fast the project is, as ratios of what runs side by side on the same machine: `python -m benchmarks`."""
