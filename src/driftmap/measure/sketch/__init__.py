"""How short can a gradient be made and still tell which others it is like?"""

from driftmap.measure.sketch.fold import Sketches

__all__ = ["Sketches"]
