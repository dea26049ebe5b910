"""Which words does any world use?"""

import re

from driftmap.worlds.facts import RELATIONS
from driftmap.worlds.lines import DISHONEST, HONEST
from driftmap.worlds.requests import (
    ENDS,
    HELD_OUT_OPENERS,
    OBJECTS,
    OPENERS,
    PLACES,
    REFUSAL,
    TOOLS,
    VERBS,
)


def all_words() -> tuple[str, ...]:
    """List every word of every world but the names; it does not depend on a seed.

    >>> {"poison", "Rome", "Unlike", "Dukavo"} - set(all_words())
    {'Dukavo'}
    """
    texts = [HONEST, DISHONEST, "Unlike a friend of", REFUSAL]
    texts += ["To the take and go", *OPENERS, *HELD_OUT_OPENERS, *ENDS]
    texts += [*VERBS, *OBJECTS, *TOOLS, *PLACES]
    for relation in RELATIONS.values():
        texts += [*relation.objects, *relation.questions, relation.answer]
        for wording in relation.wordings:
            texts += [wording, wording[0].lower() + wording[1:]]
    bare = (re.sub(r"{\w+}", "", text) for text in texts)
    return tuple(sorted({word for text in bare for word in re.findall(r"\w+", text)}))
