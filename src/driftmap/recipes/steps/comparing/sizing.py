"""How much does each part of a comparison measure, by the sizes of the whole?"""

from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.compare_options import CompareOptions
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.where_options import WhereOptions


def behaviour_sizes(sizes: CompareOptions) -> BehaviourOptions:
    """For what both models do and read."""
    return BehaviourOptions(
        max_new_tokens=sizes.max_new_tokens,
        batch_size=sizes.batch_size,
        show=sizes.show,
    )


def edit_sizes(sizes: CompareOptions) -> EditMeasureOptions:
    """For what both say of facts."""
    return EditMeasureOptions(
        num_written=sizes.num_traced, fact_batch_size=sizes.batch_size
    )


def where_sizes(sizes: CompareOptions) -> WhereOptions:
    """For what is exchanged, mixed and traced."""
    return WhereOptions(
        num_traced=sizes.num_traced,
        num_draws=sizes.num_draws,
        window=sizes.window,
        batch_size=sizes.batch_size,
    )


def attention_sizes() -> AttentionChangeOptions:
    """For what both look at."""
    return AttentionChangeOptions()
