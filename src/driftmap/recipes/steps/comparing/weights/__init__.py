"""Which weights of a model did somebody change, and how far?"""
