"""What did many runs find, on one page?"""
