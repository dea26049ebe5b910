"""Which tensors tell which samples are versions of each other?"""
