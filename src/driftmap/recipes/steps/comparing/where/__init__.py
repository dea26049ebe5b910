"""Where does the difference between two models act?"""
