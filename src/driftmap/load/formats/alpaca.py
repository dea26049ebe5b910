"""How is an instruction row with an optional input read (Alpaca, Taori et al. 2023)?

With a chat template the user turn is the instruction, then a blank line and the input
where there is one. Without a template the prompt has the wording that the models of
that data set were trained on.
"""

from driftmap.load.formats.shape import Content, Row, Shape, question_and_answer

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides "
    "further context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


def read_alpaca(row: Row) -> Content:
    r"""Read one instruction row.

    >>> row = Row(place="a:0", cells={"instruction": "Add.", "input": "1, 2",
    ...                               "output": "3"})
    >>> read_alpaca(row).messages[0].content
    'Add.\n\n1, 2'
    """
    instruction, extra = row.text("instruction"), row.text_or_empty("input")
    output = row.text_or_empty("output", default=row.value("output"))
    wording = WITH_INPUT if extra else WITHOUT_INPUT
    return Content(
        messages=question_and_answer(
            f"{instruction}\n\n{extra}" if extra else instruction, output
        ),
        plain_prompt=wording.format(instruction=instruction, input=extra),
    )


SHAPES = (
    Shape(
        name="alpaca",
        needs=frozenset({"instruction", "output"}),
        takes=frozenset({"input"}),
        read=read_alpaca,
        example={"instruction": "Add the numbers.", "input": "1, 2", "output": "3"},
    ),
)
