"""How is a quantity written for a person?"""


def format_bytes(num_bytes: float) -> str:
    """Write a size with a binary unit.

    >>> format_bytes(1536)
    '1.5 KiB'
    >>> format_bytes(12)
    '12 B'
    """
    if num_bytes < 1024:
        return f"{num_bytes:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        num_bytes /= 1024
        if num_bytes < 1024:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1024:.1f} TiB"


def format_seconds(seconds: float) -> str:
    """Write a duration as a person says it.

    >>> format_seconds(4.2)
    '4.2 s'
    >>> format_seconds(190)
    '3 min 10 s'
    >>> format_seconds(7320)
    '2 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_count(count: int) -> str:
    """Write a count with thin groups of three.

    >>> format_count(6475904)
    '6,475,904'
    """
    return f"{count:,}"
