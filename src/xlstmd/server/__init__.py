"""How the engine is reached: HTTP, its limits, its pages. Knows no model."""
