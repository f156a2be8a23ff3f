"""Speech in, synchronized picture and sound out. Knows nothing of rooms, agents or transports."""
