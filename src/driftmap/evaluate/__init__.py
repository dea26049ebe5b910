"""JUDGE: does the model refuse, and is it still right?"""
