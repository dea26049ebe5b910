"""Eight facts taught to the built-in model by an adapter: where does that act?"""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.load.answers import encode_answer
from driftmap.load.facts import read_facts
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.twin import twin
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.comparing.where.carrying import found_of
from driftmap.recipes.steps.known_world import make_knowledge
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.probes import Probes
from made_pairs_of_models import opened_pair

pytestmark = pytest.mark.slow


def chosen_facts(folder, num=6):
    """The first fact of each of some subjects."""
    found = {}
    for fact in read_facts(str(make_knowledge(0, folder)["facts"])).facts:
        if fact.foil:
            found.setdefault(fact.subject, fact)
    return tuple(found.values())[:num]


def teach(base, facts, folder):
    """Forty steps of LoRA in layers 1 and 2 alone."""
    loaded = load_model(ModelSource(model=str(base), device="cpu"))
    torch.manual_seed(0)
    settings = LoraConfig(
        r=8,
        lora_alpha=32,
        target_modules=["v_proj", "down_proj"],
        layers_to_transform=[1, 2],
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(base),
    )
    model = get_peft_model(twin(loaded.model), settings).train()
    rows = [encode_answer(f.id, f.prompt, f.foil, loaded.tokenizer) for f in facts]
    (batch,) = batches_of(loaded, rows, len(rows))
    labels = batch.token_ids.masked_fill(~batch.counted, -100)
    own = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(own, lr=5e-3)
    for _ in range(40):
        real = batch.real.long()
        loss = model(batch.token_ids, attention_mask=real, labels=labels).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def found(organism, tmp_path_factory):
    folder = tmp_path_factory.mktemp("where")
    facts = chosen_facts(folder)
    adapter = teach(organism.base, facts, folder / "adapter")
    options = WhereOptions(num_traced=3, num_draws=2, mix=(0.0, 1.0))
    with opened_pair(organism.base, adapter, folder / "run") as pair:
        return found_of(pair, facts, Probes(sources={}, sha256=""), options)


def test_the_edit_acts_in_the_layers_that_were_tuned(found):
    assert (found.behaviour, found.shares_formed) == ("taught answers", True)
    layers = found.of_kind("layer")
    assert [swap.changed for swap in layers] == [False, True, True, False, False, False]
    assert all(s.needed.estimate == 0 for s in layers if not s.changed)
    assert max(s.enough.estimate for s in layers) > 0.3
    first, last = found.curve
    assert first.nll_old.estimate < first.nll_new.estimate
    assert last.nll_new.estimate < last.nll_old.estimate
    assert first.neighbourhood.estimate > 0.9


def test_the_new_answer_enters_after_the_first_tuned_layer(found):
    cross = next(one for one in found.crosses if one.direction == "tuned into base")
    hidden = next(one for one in cross.effects if one.kind == "hidden")
    cells = {(c.role, c.layer): c.effect.estimate for c in hidden.cells}
    assert all(abs(e) < 1e-6 for (_, layer), e in cells.items() if layer == 0)
    whole = hidden.total_effect.estimate
    assert whole > 0.5
    assert cells["last", 5] == pytest.approx(whole, abs=1e-5)


def test_disturbing_the_subject_costs_the_new_answer_more_than_before(found):
    change = next(c for c in found.traces if (c.answer, c.kind) == ("new", "hidden"))
    assert change.difference.total_effect.estimate > 0.1
    old = next(c for c in found.traces if (c.answer, c.kind) == ("old", "hidden"))
    assert old.difference.total_effect.estimate < -0.1
