"""In which order is a study of honesty readings carried out?"""

from driftmap.recipes.honesty_options import HonestyReadingOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.asked import Question
from driftmap.recipes.steps.honesty.concluding import Carried, statistics_step
from driftmap.recipes.steps.honesty.planning import planned
from driftmap.recipes.steps.honesty.reading import reading_step
from driftmap.recipes.steps.honesty.responding import units_step
from driftmap.recipes.steps.honesty.steering import steering_step
from driftmap.recipes.steps.honesty.texts import texts_step
from driftmap.recipes.steps.honesty.transferring import transfer_step
from driftmap.recipes.steps.reports import report_step
from driftmap.store.steps import StepOutcome


def carry_out(
    study: Study, question: Question, options: HonestyReadingOptions
) -> StepOutcome:
    """Read directions, try them, score texts, steer, and draw the report.

    Args:
        study: With the model.
        question: What is asked.
        options: How directions are found.

    Returns:
        The step of the report.
    """
    plan = planned(study, question, options)
    read = reading_step(study, plan)
    carried = Carried(
        read=read,
        transfers=transfer_step(study, plan, question, read),
        units=units_step(study, plan),
        steering=steering_step(study, plan, question, read),
    )
    texts_step(study, plan, question, read)
    statistics_step(study, plan, question, carried)
    return report_step(study.run)
