"""What do drift and behaviour say together, beside what chance gives?"""
