"""GROUND: errors, places, seeds, units, progress; standard library only."""
