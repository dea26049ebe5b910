import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GenerationConfig, PreTrainedTokenizerFast

from driftmap.core.errors import DataError
from driftmap.evaluate.generate import end_ids, greedy_answers
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
