"""How are short forms of many gradients kept, checked, grown and searched on disk?"""
