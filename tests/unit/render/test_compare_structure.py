"""Both trees of modules as a page shows them, worked by hand on a tiny model."""

from adapters_made import make_adapter
from driftmap.load.structure import compare_structure
from driftmap.load.tuned import find_tuned
from driftmap.render.compare_structure import structure_section
from driftmap.render.html import html_of
from driftmap.render.page import Page
from driftmap.render.text import text_of
from tiny import tiny_llama

BASE = """\
LlamaForCausalLM
  model LlamaModel
    embed_tokens Embedding [40 16]
    layers ModuleList
      0-1 × 2 LlamaDecoderLayer
        self_attn LlamaAttention
          q_proj Linear [16 16]
          k_proj Linear [8 16]
          v_proj Linear [8 16]
          o_proj Linear [16 16]
        mlp LlamaMLP
          gate_proj Linear [40 16]
          up_proj Linear [40 16]
          down_proj Linear [16 40]
          act_fn SiLUActivation
        input_layernorm LlamaRMSNorm [16]
        post_attention_layernorm LlamaRMSNorm [16]
    norm LlamaRMSNorm [16]
    rotary_emb LlamaRotaryEmbedding
  lm_head Linear [40 16]
"""

TUNED = BASE.replace(
    "q_proj Linear [16 16]", "q_proj Linear [16 16] + LoRA, rank 2, scale 2"
)
TUNED = TUNED.replace("lm_head Linear [40 16]", "lm_head Linear [40 16] + saved whole")

ALONE = """\
Tuned                                             trained weights
------------------------------------------------  ---------------
the model                                                     768
  lm_head [40 16] + saved whole                               640
  model                                                       128
    layers                                                    128
      0-1 × 2                                                  64
        self_attn                                              64
          q_proj [16 16] + LoRA, rank 2, scale 2               64
"""


def drawn(base, tuned):
    found = compare_structure(str(base), find_tuned([str(tuned)]))
    section = structure_section(found)
    page = Page(title="T", lead="L", sections=[section], footer="F")
    return text_of(page).replace("\N{NO-BREAK SPACE}", " "), html_of(page)


def column(text, name, following):
    """One column of the tree."""
    lines = text[text.index("Base     ") :].splitlines()
    start, end = lines[0].index(name), lines[0].index(following)
    cells = [line[start:end].rstrip() for line in lines[2:]]
    return "\n".join(cells[: BASE.count("\n")]) + "\n"


def make(folder):
    make_adapter(
        folder / "adapter",
        base=folder / "base",
        modules_to_save=["lm_head"],
        target_modules=["q_proj"],
    )
    return folder / "base", folder / "adapter"


def test_both_trees_stand_side_by_side(tmp_path):
    text, html = drawn(*make(tmp_path))
    assert column(text, "Base", "Tuned") == BASE
    assert column(text, "Tuned", "what differs") == TUNED
    assert "768 trained weights, 11.4 % of the base's 6,736" in " ".join(text.split())
    assert "&nbsp;" not in html
    assert "\N{NO-BREAK SPACE}" in html


def test_an_adapter_alone_has_one_column(tmp_path):
    text, _ = drawn("./nothing", make(tmp_path)[1])
    assert ALONE in text
    assert "Without its base" in text


def test_two_whole_models_have_a_table_each_of_what_differs(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "one")
    tiny_llama(vocab=44, layers=3).save_pretrained(tmp_path / "other")
    text, html = drawn(tmp_path / "one", tmp_path / "other")
    for said in (
        "Tensors that only the tuned model has.",
        "In both, but in another shape or number type.",
        "Settings that differ.",
        "only in the tuned model",
    ):
        assert said in text
        assert said in html
    assert "`lm_head.weight`" in text
    assert "Both trees are equal" not in text


def test_equal_trees_are_folded_away(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "one")
    text, html = drawn(tmp_path / "one", tmp_path / "one")
    assert "Both models have the same 21 tensors" in text
    assert "<details>" in html
