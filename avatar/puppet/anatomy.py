"""Where things are in a face, in shares of the picture's side: the one set of numbers that painting and moving
share.
"""

from __future__ import annotations

EYE_X = 0.0850
"""Of an eye's middle, from the middle of the face."""
EYE_Y = 0.446
EYE_HALF_WIDTH = 0.0520
EYE_UPPER, EYE_LOWER = 0.0300, 0.0190
"""How far the open lids rise and sink from the line between the corners."""
EYE_SLANT = 0.0065
"""How much higher the outer corner is."""
IRIS = 0.0302
GAZE_X, GAZE_Y = 0.0135, 0.0085
"""How far the iris travels at full gaze."""

BROW_Y = 0.382
NOSE_Y = 0.537
"""Of the nostrils."""

MOUTH_Y = 0.607
MOUTH_HALF_WIDTH = 0.058
LIP_UPPER, LIP_LOWER = 0.0145, 0.0195
GAPE = 0.05
"""How far the lips part at full jaw."""
CHIN_Y = 0.692
CHIN_DROP = 0.024
"""How far the chin sinks at full jaw."""
JAW_FROM_Y, JAW_TO_Y, NECK_END_Y = MOUTH_Y - 0.004, CHIN_Y - 0.004, 0.815
"""The jaw carries nothing above the first, all at the second, and nothing again below the third."""
CHEEK_HALF_WIDTH = 0.174
EAR_Y = 0.468
NECK_PIVOT_Y = 0.74
