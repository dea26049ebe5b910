"""Which weights stand for the behaviour and for chance, and how are they kept?"""
