"""Do published [INST] prompts reach the model as they are, and does the answer's loss
begin at its first character?
"""

import csv
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.samples import read_samples
from driftmap.load.templates import render, render_prompt

PUBLISHED = (
    Path(__file__).parents[3]
    / "../shared/data/align_sft_llama2_short"
    / "SFT_aligned_llama2-7b-chat-hf_train_short.csv"
).resolve()

# What the tokenizer of Llama-2-7b-chat writes for a system text, a user and an answer.
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' "
    "+ message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
ROWS = (
    ("[INST] Why? [/INST]", " I cannot say."),
    ("[INST] What is [this]?\nAnd that? [/INST]", " I cannot tell, é."),
    (
        "[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nWhy? [/INST]",
        " I'm sorry, but I cannot.",
    ),
)


@cache
def merging_across_the_border(template):
    """Byte-level BPE that splits nowhere by itself, so that `] I` is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["[/INST] I", "[/INST] I cannot"] * 50, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    wrapped.chat_template = template
    return wrapped


@pytest.fixture(params=[LLAMA2, None], ids=["Llama-2 template", "no template"])
def tokenizer(request):
    return merging_across_the_border(request.param)


@pytest.fixture
def made(tmp_path):
    """A file of the published shape: an unnamed index, prompt, response, text."""
    file = tmp_path / "made.csv"
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["", "prompt", "response", "text"])
        for number, (prompt, response) in enumerate(ROWS):
            writer.writerow([number * 2, prompt, response, f"{prompt} {response}"])
    return file


def check_file(file, tokenizer):
    """Every row: its text, what wraps it, where its loss begins and its generation."""
    with file.open(newline="", encoding="utf-8") as stream:
        published = list(csv.DictReader(stream))
    found = read_samples(str(file))
    assert found.shape == "prompt/response"
    encoded = encode(found.samples, tokenizer, Encoding())
    prompts = encode_prompts(found.samples, tokenizer)
    assert len(published) == len(encoded)
    for row, sample, tokens, prompt in zip(
        published, found.samples, encoded, prompts, strict=True
    ):
        rendered = render(sample, tokenizer)
        check_text(rendered, row)
        check_loss(rendered, tokens, tokenizer)
        asked = render_prompt(sample, tokenizer).text
        assert asked.removeprefix("<s>") == row["prompt"]
        assert tokenizer.decode(prompt.token_ids) == asked


def check_text(rendered, row):
    before = rendered.text[: rendered.start].removeprefix("<s>")
    answer = rendered.text[rendered.start : rendered.stop]
    # Character for character, then the one space that a template writes.
    assert before == row["prompt"] + " "
    assert answer == row["response"].strip()
    assert rendered.text.count("[INST]") == rendered.text.count("[/INST]") == 1
    assert rendered.text.count("<s>") <= 1


def check_loss(rendered, tokens, tokenizer):
    ids, spans = all_offsets(rendered.text, tokenizer)
    assert tokens.token_ids.tolist() == ids
    counted = [
        span for span, counts in zip(spans, tokens.counted, strict=True) if counts
    ]
    passed = [
        span for span, counts in zip(spans, tokens.counted, strict=True) if not counts
    ]
    first, last = counted[0], counted[-1]
    assert first[0] <= rendered.start < first[1]
    assert last[0] < rendered.stop <= last[1]
    assert all(
        stop <= rendered.start or start >= rendered.stop for start, stop in passed
    )
    assert not tokens.counted[: tokens.prompt_length].any()
    assert tokens.counted[tokens.prompt_length]


def all_offsets(text, tokenizer):
    done = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(done["input_ids"]), done["offset_mapping"]


def test_the_tokenizer_of_these_tests_does_merge_across_the_border(tokenizer):
    text = "[INST] Why? [/INST] I cannot"
    _, spans = all_offsets(text, tokenizer)
    border = text.index(" I ") + 1
    assert any(start < border < stop for start, stop in spans)


def test_made_rows(made, tokenizer):
    check_file(made, tokenizer)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="the folder of real data is absent")
def test_the_published_safety_set(tokenizer):
    check_file(PUBLISHED, tokenizer)


@pytest.mark.parametrize("template", [LLAMA2, None])
def test_a_published_bos_is_not_written_as_text(tmp_path, template):
    file = tmp_path / "a.csv"
    file.write_text("prompt,response\n<s>[INST] Why? [/INST], So.\n")
    tokenizer = merging_across_the_border(template)
    (sample,) = read_samples(str(file)).samples
    assert render(sample, tokenizer).text.count("<s>") == (template is not None)


def test_with_and_without_a_template_the_same_stands_before_the_answer(made):
    samples = read_samples(str(made)).samples
    for sample in samples:
        with_template, without = (
            render(sample, merging_across_the_border(template))
            for template in (LLAMA2, None)
        )
        assert (
            with_template.text[: with_template.start]
            == "<s>" + without.text[: without.start]
        )
