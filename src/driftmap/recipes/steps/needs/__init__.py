"""What does a study need before it begins, and what lowers it?"""
