"""Several recipes as one study: each piece of work done once, one report of all."""
