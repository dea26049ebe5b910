"""How is an index of gradients built, grown, searched, checked and joined?"""
