"""What do drift logs of other programs say?"""
