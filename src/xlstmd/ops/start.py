"""The stabilizer of an empty memory."""

# A finite "minus infinity": below every sum of gate logs, and still finite after a million
# additions, so that no maximum and no difference ever meets inf - inf.
STABILIZER_START = -1e30
