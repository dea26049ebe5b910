"""What do two models do with the same texts, facts and requests?"""
