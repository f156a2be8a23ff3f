"""The measuring stick for lips: a finished video and the phone times of its speech in, numbers out."""
