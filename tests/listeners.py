"""Hears what is said."""

from driftmap.core.progress import Silence


class Ear(Silence):
    """Keeps every line."""

    def __init__(self):
        self.heard = []

    def said(self, message):
        """One line."""
        self.heard.append(message)
