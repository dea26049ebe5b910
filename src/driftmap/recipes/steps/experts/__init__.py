"""Which experts must change for a model to refuse, and is changing them enough?"""
