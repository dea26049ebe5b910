"""ARITHMETIC of experts: what passes show of them becomes numbers per expert."""
