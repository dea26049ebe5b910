"""VOCABULARY: frozen dataclasses of numpy that stages hand to each other."""
