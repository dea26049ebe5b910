"""ENTRY: words on a command line become a recipe; errors become one sentence."""
