"""The bytes of a safetensors file, spelled out."""


def safetensors_bytes(header: bytes, data: bytes) -> bytes:
    """The length of the header, the header filled up to eight bytes, the data."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data
