"""The checker behind live annotations: beartype, with an int where a float is due."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
