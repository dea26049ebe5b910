"""How is a row read that some tokenizer has already turned into ids?

It is used as it is: nothing is added, cut off or wrapped.
"""

from driftmap.core.errors import DataError
from driftmap.load.formats.shape import Content, Row, Shape
from driftmap.results.samples import TokenRow

MASKED = -100


def read_tokens(row: Row) -> Content:
    """Read ids and labels of equal length.

    Raises:
        DataError: They are no lists of whole numbers of one length, or a label is
            neither its own token's id nor -100.
    """
    ids, labels = _numbers(row, "input_ids"), _numbers(row, "labels")
    if len(ids) != len(labels):
        raise DataError(
            f"{row.place}: {len(ids)} `input_ids` but {len(labels)} `labels`; "
            "every token needs one"
        )
    for index, (token_id, label) in enumerate(zip(ids, labels, strict=True)):
        if label not in (token_id, MASKED):
            raise DataError(
                f"{row.place}: label {label} at token {index} is neither that token's "
                f"id {token_id} nor {MASKED}; labels are not shifted"
            )
    return Content(tokens=TokenRow(token_ids=ids, labels=labels))


def _numbers(row: Row, column: str) -> tuple[int, ...]:
    values = row.value(column)
    whole = isinstance(values, list) and all(type(v) is int for v in values)
    if not isinstance(values, list) or not whole or not values:
        raise DataError(
            f"{row.where(column)} is no list of whole numbers; "
            "JSON Lines and Parquet can hold one, CSV cannot"
        )
    return tuple(values)


SHAPES = (
    Shape(
        name="pretokenised",
        needs=frozenset({"input_ids", "labels"}),
        read=read_tokens,
        example={"input_ids": [1, 15, 27, 2], "labels": [MASKED, MASKED, 27, 2]},
    ),
)
