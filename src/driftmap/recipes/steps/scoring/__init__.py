"""How are all weights scored, in how many passes, and where do scores stay?"""
