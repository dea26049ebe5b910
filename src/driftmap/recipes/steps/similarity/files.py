"""Where do the products of a study of similar samples lie in its run folder?"""

ERRORS = "products/gradient-errors.npy"
"""Standard errors of products of gradients that are estimates."""


def products_file(name: str) -> str:
    """The file of a measure's products.

    >>> products_file("gradients")
    'products/gradients.safetensors'
    """
    return f"products/{name}.safetensors"
