"""The GPU renderer's core: speech features, network, decoder and paste. Needs the extra `musetalk` (torch).

Nothing outside this folder imports it on the way of the base install, and it imports nothing at this level.
"""
