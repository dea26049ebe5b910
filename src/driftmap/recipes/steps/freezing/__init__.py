"""Does a behaviour outlast tuning when its weights may not move?"""
