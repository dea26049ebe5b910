"""Which kinds of prompts, losses and tunings does an edit have?"""

from typing import Literal

PromptKind = Literal["rewrite", "paraphrase", "generation"]
"""The fact's own wording, its other wordings, or beginnings of texts about it."""

LossOver = Literal["target", "all"]
"""The new answer and its end token, or every token but the first."""


Asked = Literal["own wording", "other wording", "free text", "neighbour"]
"""The fact's own prompt, another wording, a beginning of a text about its subject, or
a prompt about another subject with the same answer."""

EditKind = Literal["lora", "qlora", "full"]
"""An adapter, one on rounded weights, or the weights themselves."""
