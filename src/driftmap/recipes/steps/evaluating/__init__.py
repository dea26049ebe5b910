"""What does a model say to requests, how is that judged, and what follows?"""
