"""The MuseTalk core on one card: `python -m benchmarks.gpu`. Needs the extra `musetalk`; real weights are optional."""
