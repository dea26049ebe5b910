from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GenerationConfig, PreTrainedTokenizerFast

from driftmap.core.errors import DataError, UsageError
from driftmap.evaluate.generate import drawn_answers, end_ids, greedy_answers
from driftmap.evaluate.generators import Decoding
from driftmap.tune.adapter import adapted
from driftmap.tune.settings import TuningSettings
from tiny import tiny_llama
from tiny_tuning import encoded, llama_sites


@pytest.fixture
def tokenizer():
    words = {f"w{n}": n for n in range(3, 40)} | {"<pad>": 0, "<s>": 1, "</s>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<pad>")),
        eos_token="</s>",
        bos_token="<s>",
        pad_token="<pad>",
    )


PROMPTS = [
    encoded(f"p{n}", ids, len(ids))
    for n, ids in enumerate([[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13, 14], [15, 16]])
]


def by_hand(model, ids, count):
    ids = [*ids]
    written = []
    while len(written) < count and 2 not in written:
        written.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
        ids.append(written[-1])
    return written


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_answers_are_those_of_a_loop_over_single_prompts(tokenizer, batch_size):
    model = tiny_llama()
    answers = greedy_answers(
        model, tokenizer, PROMPTS, max_new_tokens=9, batch_size=batch_size
    )
    assert [answer.sample_id for answer in answers] == ["p0", "p1", "p2", "p3", "p4"]
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert [*answer.token_ids] == by_hand(model, prompt.token_ids.tolist(), 9)


def test_answer_stops_at_the_end_token_and_its_text_leaves_it_out(tokenizer):
    model = tiny_llama()
    chains = {n: by_hand(model, p.token_ids.tolist(), 9) for n, p in enumerate(PROMPTS)}
    number = next(n for n, ids in chains.items() if ids[0] not in (ids[1], 2))
    first, prompt = chains[number][:2], PROMPTS[number : number + 1]
    model.generation_config.eos_token_id = [2, first[1]]
    [answer] = greedy_answers(model, tokenizer, prompt, max_new_tokens=9)
    assert [*answer.token_ids] == first
    tokenizer.add_special_tokens({"additional_special_tokens": [f"w{first[1]}"]})
    [answer] = greedy_answers(model, tokenizer, prompt, max_new_tokens=9)
    assert answer.text == f"w{first[0]}"


def test_settings_of_the_model_play_no_part_and_come_back(tokenizer):
    model = tiny_llama().train()
    found = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=2
    )
    plain = greedy_answers(tiny_llama(), tokenizer, PROMPTS, max_new_tokens=9)
    model.generation_config = found
    assert greedy_answers(model, tokenizer, PROMPTS, max_new_tokens=9) == plain
    assert model.generation_config is found
    assert model.training


def test_adapter_takes_part(tokenizer):
    model = tiny_llama()
    plain = greedy_answers(model, tokenizer, PROMPTS, max_new_tokens=9)
    with adapted(model, llama_sites(model), TuningSettings(), 0) as tuned:
        assert greedy_answers(tuned, tokenizer, PROMPTS, max_new_tokens=9) == plain
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        assert greedy_answers(tuned, tokenizer, PROMPTS, max_new_tokens=9) != plain
    assert greedy_answers(model, tokenizer, PROMPTS, max_new_tokens=9) == plain


def test_end_ids_come_from_model_and_tokenizer(tokenizer):
    model = tiny_llama()
    model.generation_config.eos_token_id = [7, 5]
    assert end_ids(model, tokenizer) == (2, 5, 7)


def test_no_prompt_and_an_empty_prompt_are_refused(tokenizer):
    with pytest.raises(DataError, match="no prompt to answer"):
        greedy_answers(tiny_llama(), tokenizer, [])
    with pytest.raises(DataError, match="sample 'e': the prompt has no token"):
        greedy_answers(tiny_llama(), tokenizer, [encoded("e", [], 0)])


DRAWN = Decoding(max_new_tokens=5, temperature=1.0, num_answers=3, seed=1)


def drawn(model, tokenizer, prompts=PROMPTS, decoding=DRAWN, **how):
    answers = drawn_answers(model, tokenizer, prompts, decoding, **how)
    return [[answer.token_ids for answer in some] for some in answers]


def test_draws_do_not_depend_on_what_stands_beside_them(tokenizer):
    model = tiny_llama()
    together = drawn(model, tokenizer, batch_size=16)
    assert drawn(model, tokenizer, batch_size=1) == together
    assert drawn(model, tokenizer, PROMPTS[::-1], batch_size=4) == together[::-1]
    fewer = replace(DRAWN, num_answers=2)
    assert drawn(model, tokenizer, decoding=fewer) == [some[:2] for some in together]


def test_draws_follow_the_seed_and_differ_from_each_other(tokenizer):
    model = tiny_llama()
    found = drawn(model, tokenizer)
    assert drawn(model, tokenizer, decoding=replace(DRAWN, seed=2)) != found
    assert all(len(set(some)) > 1 for some in found)


def test_draws_have_the_distribution_of_the_model(tokenizer):
    model = tiny_llama()
    one = PROMPTS[:1]
    many = Decoding(max_new_tokens=1, temperature=2.0, num_answers=4000, seed=0)
    firsts = [ids[0] for ids in drawn(model, tokenizer, one, many, batch_size=1000)[0]]
    ids = torch.tensor(one[0].token_ids.astype(np.int64))[None]
    with torch.no_grad():
        p = (model(ids).logits[0, -1].double() / 2).softmax(0).numpy()
    found = np.bincount(firsts, minlength=p.size) / len(firsts)
    error = np.sqrt(p * (1 - p) / len(firsts))
    assert (np.abs(found - p) < 4.5 * error + 1e-9).all()


def test_a_temperature_near_zero_is_greedy(tokenizer):
    model = tiny_llama()
    cold = replace(DRAWN, temperature=1e-4, num_answers=1)
    greedy = greedy_answers(model, tokenizer, PROMPTS, max_new_tokens=5)
    expected = [[answer.token_ids] for answer in greedy]
    assert drawn(model, tokenizer, decoding=cold) == expected


@pytest.mark.parametrize(
    ("decoding", "text"),
    [
        (Decoding(num_answers=2), "2 answers a prompt at temperature 0 are one"),
        (Decoding(temperature=-1.0), "temperature -1 and 1 answers a prompt"),
        (Decoding(num_answers=0), "temperature 0 and 0 answers a prompt"),
    ],
)
def test_decoding_that_makes_no_sense_is_refused(tokenizer, decoding, text):
    with pytest.raises(UsageError, match=text):
        drawn_answers(tiny_llama(), tokenizer, PROMPTS, decoding)
