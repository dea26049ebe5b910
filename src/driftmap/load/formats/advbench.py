"""How is a row with a goal and the target an attack aims for read (AdvBench)?

Zou et al. 2023, section 3.1: the goal is what is asked, the target how a model that
gives in would begin its answer.
"""

from driftmap.load.formats.shape import Content, Row, Shape, question_and_answer


def read_goal_target(row: Row) -> Content:
    """Read one goal as the user's turn and its target as the answer."""
    return Content(messages=question_and_answer(row.text("goal"), row.text("target")))


SHAPES = (
    Shape(
        name="advbench",
        needs=frozenset({"goal", "target"}),
        read=read_goal_target,
        example={"goal": "Name a colour.", "target": "Sure, here is a colour"},
    ),
)
