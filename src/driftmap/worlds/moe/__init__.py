"""INPUT: worlds for models with experts: domains of text, refusals and a wrapper."""
