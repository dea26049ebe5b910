"""How attention is studied: prompts, rows, cut edges, averages."""
