import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import Silence, listening
from driftmap.load.encoding import (
    Encoding,
    encode,
    encode_prompts,
    encoded_sha256,
)
from driftmap.load.samples import read_samples
from driftmap.load.templates import Opening
from driftmap.results.samples import Message, Sample, TokenRow
from tokenizers_made import CHATML, byte_level, merging, save_without_offsets

DATA = (Path(__file__).parents[3] / "../shared/data").resolve()


def asked(question="Why?", answer="be", **more):
    turns = (
        Message(role="user", content=question),
        Message(role="assistant", content=answer),
    )
    return Sample(id="s:0", original_id="s:0", messages=turns, **more)


def running(text):
    return Sample(
        id="t:0", original_id="t:0", messages=(Message(role="text", content=text),)
    )


def pretokenised(ids, labels):
    return Sample(
        id="p:0", original_id="p:0", tokens=TokenRow(token_ids=ids, labels=labels)
    )


def one(sample, tokenizer, **settings):
    return encode([sample], tokenizer, Encoding(**settings))[0]


def counted_text(encoded, tokenizer):
    return tokenizer.decode(encoded.token_ids[encoded.counted])


class Said(Silence):
    def __init__(self):
        self.lines = []

    def said(self, message):
        self.lines.append(message)


class TestWithoutTemplate:
    def test_golden_by_hand(self):
        tokenizer = merging()
        ids = tokenizer.convert_tokens_to_ids(["W", "h", "y", "?\n", "be", "c"])
        encoded = one(asked(answer="bec"), tokenizer)
        assert encoded.token_ids.tolist() == ids
        assert encoded.counted.tolist() == [False] * 4 + [True] * 2
        assert encoded.prompt_length == 4
        assert encoded.token_ids.dtype == np.int32

    def test_prompt_and_response_stand_on_two_lines(self):
        tokenizer = byte_level()
        encoded = one(asked("What colour?", "blue."), tokenizer)
        assert tokenizer.decode(encoded.token_ids) == "What colour?\nblue."
        assert counted_text(encoded, tokenizer) == "blue."

    def test_a_token_across_the_border_belongs_to_the_response(self):
        tokenizer = merging()
        encoded = one(asked(answer="abe"), tokenizer)
        assert tokenizer.convert_ids_to_tokens(encoded.token_ids.tolist()) == [
            "W", "h", "y", "?\na", "be",
        ]  # fmt: skip
        assert encoded.prompt_length == 3
        assert encoded.counted.tolist() == [False] * 3 + [True] * 2

    def test_the_published_wording_stands_before_the_response(self):
        tokenizer = byte_level()
        sample = asked(answer="blue", plain_prompt="[INST] Why? [/INST] ")
        encoded = one(sample, tokenizer)
        assert tokenizer.decode(encoded.token_ids) == "[INST] Why? [/INST] blue"
        assert counted_text(encoded, tokenizer) == " blue"
        (prompt,) = encode_prompts([sample], tokenizer)
        expected = encoded.token_ids[: encoded.prompt_length]
        assert prompt.token_ids.tolist() == expected.tolist()

    @pytest.mark.parametrize("answer", ["  two", "a \n\n b", "two  ", "é→🙂", " "])
    def test_every_character_of_the_response_counts(self, answer):
        tokenizer = byte_level()
        if not answer.strip():
            with pytest.raises(DataError, match="its response is empty"):
                one(asked(answer=answer), tokenizer)
            return
        encoded = one(asked(answer=answer), tokenizer)
        assert counted_text(encoded, tokenizer) == answer


class TestBos:
    def test_a_tokenizer_without_one_loses_nothing(self):
        tokenizer = byte_level()
        encoded = one(asked("", "blue", plain_prompt=""), tokenizer)
        assert tokenizer.decode(encoded.token_ids) == "blue"
        # Nothing predicts the very first token, so it is no loss term.
        assert encoded.counted.tolist()[1:] == [True] * (len(encoded.counted) - 1)
        assert not encoded.counted[0]

    def test_one_is_added_where_the_tokenizer_does(self):
        tokenizer = byte_level(adds_bos=True)
        encoded = one(asked(), tokenizer)
        assert encoded.token_ids.tolist().count(1) == 1
        assert encoded.token_ids[0] == 1
        assert counted_text(encoded, tokenizer) == "be"

    @pytest.mark.parametrize("template", ["{{ bos_token }}" + CHATML, None])
    def test_it_is_never_doubled(self, template):
        tokenizer = byte_level(adds_bos=True, template=template)
        sample = asked(plain_prompt=None if template else "<s>Why?\n")
        assert one(sample, tokenizer).token_ids.tolist().count(1) == 1
        (prompt,) = encode_prompts([sample], tokenizer)
        assert prompt.token_ids.tolist().count(1) == 1


class TestWithTemplate:
    def test_the_response_alone_counts(self):
        tokenizer = byte_level(template=CHATML)
        encoded = one(asked("What colour?", "blue"), tokenizer)
        assert counted_text(encoded, tokenizer) == "blue"
        assert tokenizer.decode(encoded.token_ids).endswith("blue<|im_end|>\n")

    def test_the_prompt_is_the_same_with_and_without_the_response(self):
        tokenizer = byte_level(template=CHATML)
        sample = asked("What colour?", "blue")
        (prompt,) = encode_prompts([sample], tokenizer)
        whole = one(sample, tokenizer)
        assert whole.token_ids[: whole.prompt_length].tolist() == list(prompt.token_ids)
        assert prompt.prompt_length == len(prompt.token_ids)
        assert not prompt.counted.any()

    @pytest.mark.parametrize("answer", ["m", "user", "What colour?", " blue \n"])
    def test_a_response_that_the_template_also_holds_is_not_mistaken(self, answer):
        tokenizer = byte_level(template=CHATML)
        encoded = one(asked("What colour?", answer), tokenizer)
        assert counted_text(encoded, tokenizer) == answer.strip()

    def test_only_the_last_answer_of_a_conversation_counts(self):
        tokenizer = byte_level(template=CHATML)
        turns = (
            Message(role="system", content="one"),
            *asked("Why?", "two").messages,
            *asked("Why?", "three").messages,
        )
        sample = Sample(id="s:0", original_id="s:0", messages=turns)
        assert counted_text(one(sample, tokenizer), tokenizer) == "three"

    def test_a_published_wording_is_not_put_inside_a_template(self):
        tokenizer = byte_level(template=CHATML)
        encoded = one(asked(plain_prompt="[INST] Why? [/INST] "), tokenizer)
        assert "[INST]" not in tokenizer.decode(encoded.token_ids)

    def test_a_template_that_refuses_is_named(self):
        template = "{{ raise_exception('system role not supported') }}"
        tokenizer = byte_level(template=template)
        with pytest.raises(DataError, match=r"s:0: .*system role not supported"):
            one(asked(), tokenizer)

    def test_a_template_that_rewrites_the_response_is_named(self):
        template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
        tokenizer = byte_level(template=template)
        with pytest.raises(ModelError, match="changes the response"):
            one(asked(answer="two"), tokenizer)

    def test_the_date_stands_still(self):
        template = "{{ date_string | default('today') }}\n" + CHATML
        tokenizer = byte_level(template=template)
        text = tokenizer.decode(one(asked(), tokenizer).token_ids)
        assert text.startswith("26 Jul 2024")


class TestLearnEnd:
    def test_without_template_it_is_added(self):
        tokenizer = merging()
        encoded = one(asked(), tokenizer, learn_end=True)
        assert encoded.token_ids[-1] == tokenizer.eos_token_id
        learnt = encoded.token_ids[encoded.counted].tolist()
        assert tokenizer.convert_ids_to_tokens(learnt) == ["be", "</s>"]

    def test_the_templates_own_is_learnt(self):
        tokenizer = byte_level(template=CHATML)
        encoded = one(asked(answer="two"), tokenizer, learn_end=True)
        assert counted_text(encoded, tokenizer) == "two<|im_end|>"
        plain = one(asked(answer="two"), tokenizer)
        assert encoded.token_ids.tolist() == plain.token_ids.tolist()

    def test_after_another_end_of_turn_it_is_added(self):
        tokenizer = byte_level(template=CHATML, end="</s>")
        encoded = one(asked(answer="two"), tokenizer, learn_end=True)
        assert counted_text(encoded, tokenizer) == "two<|im_end|>\n</s>"

    def test_a_cut_sample_learns_no_end(self):
        tokenizer = byte_level()
        encoded = one(
            asked(answer="two " * 20), tokenizer, learn_end=True, max_length=9
        )
        assert len(encoded.token_ids) == 9
        assert tokenizer.eos_token_id not in encoded.token_ids

    def test_a_tokenizer_without_one_is_refused(self):
        tokenizer = merging()
        tokenizer.eos_token = None
        with pytest.raises(ModelError, match="no end-of-sequence token"):
            one(asked(), tokenizer, learn_end=True)


class TestPositions:
    @pytest.mark.parametrize("template", [None, CHATML])
    def test_labels_and_response_have_the_same_loss_terms(self, template):
        tokenizer = byte_level(template=template)
        response = one(asked(), tokenizer, positions="response")
        labels = one(asked(), tokenizer, positions="labels")
        assert (response.counted == labels.counted).all()

    def test_all_is_every_token_but_the_first(self):
        encoded = one(asked(), merging(), positions="all")
        assert encoded.counted.tolist() == [False] + [True] * 4
        assert encoded.prompt_length == 4

    def test_running_text_is_all(self):
        tokenizer = byte_level(template=CHATML)
        encoded = one(running("The sky is blue."), tokenizer, positions="all")
        assert tokenizer.decode(encoded.token_ids) == "The sky is blue."
        assert encoded.counted.tolist() == [False] + [True] * (len(encoded.counted) - 1)
        assert encoded.prompt_length == 0

    def test_running_text_has_no_response(self):
        with pytest.raises(DataError, match="t:0: running text has no response; use"):
            one(running("The sky"), byte_level())

    def test_one_token_of_text_counts_nowhere(self):
        with pytest.raises(DataError, match=r"t:0: none of its 1 tokens counts"):
            one(running("a"), byte_level(), positions="all")


class TestPretokenised:
    def test_used_as_it_is(self):
        encoded = one(pretokenised((9, 8, 7), (-100, -100, 7)), byte_level())
        assert encoded.token_ids.tolist() == [9, 8, 7]
        assert encoded.counted.tolist() == [False, False, True]
        assert encoded.prompt_length == 2

    def test_nothing_is_added_at_the_end(self):
        sample = pretokenised((9, 8, 7), (-100, -100, 7))
        assert len(one(sample, byte_level(), learn_end=True).token_ids) == 3

    def test_all_positions(self):
        sample = pretokenised((9, 8, 7), (-100, -100, 7))
        encoded = one(sample, byte_level(), positions="all")
        assert encoded.counted.tolist() == [False, True, True]

    @pytest.mark.parametrize("labels", [(-100, -100), (9, -100)])
    def test_all_masked_is_refused(self, labels):
        with pytest.raises(DataError, match=r"p:0: none of its 2 tokens counts"):
            one(pretokenised((9, 8), labels), byte_level())

    def test_ids_outside_the_vocabulary_are_refused(self):
        with pytest.raises(DataError, match=r"p:0: id 99999 at token 1 lies outside"):
            one(pretokenised((9, 99999), (-100, 99999)), byte_level())

    def test_its_prompt_ends_before_the_first_label(self):
        sample = pretokenised((9, 8, 7), (-100, -100, 7))
        (prompt,) = encode_prompts([sample], byte_level())
        assert prompt.token_ids.tolist() == [9, 8]


class TestHash:
    def test_it_follows_all_that_is_fed(self):
        base = one(asked(), merging())
        counted = base.counted.copy()
        counted[-1] = not counted[-1]
        others = [
            replace(base, sample_id="s:1"),
            replace(base, token_ids=base.token_ids + 1),
            replace(base, counted=counted),
            replace(base, prompt_length=base.prompt_length + 1),
        ]
        hashes = {encoded_sha256([encoded]) for encoded in (base, *others)}
        hashes |= {encoded_sha256([base], []), encoded_sha256([base, base])}
        assert len(hashes) == 7
        assert encoded_sha256([base]) == encoded_sha256([one(asked(), merging())])

    def test_it_follows_the_template(self):
        plain, chat = (
            one(asked(), byte_level(template=template)) for template in (None, CHATML)
        )
        assert encoded_sha256([plain]) != encoded_sha256([chat])


class TestLengths:
    def test_a_long_response_is_cut_and_said_once(self):
        said = Said()
        samples = [asked(answer="one two three " * 20)] * 3 + [asked()]
        with listening(said):
            encoded = encode(samples, byte_level(), Encoding(max_length=20))
        assert [len(e.token_ids) for e in encoded[:3]] == [20] * 3
        assert said.lines == [
            "3 of 4 samples are longer than 20 tokens and were cut there"
        ]

    def test_a_prompt_that_leaves_no_room_is_refused(self):
        sample = asked("one two three " * 20, "two")
        with pytest.raises(
            DataError, match=r"s:0: its prompt has \d+ tokens .* 20, .*; shorten it"
        ):
            one(sample, byte_level(), max_length=20)
        with pytest.raises(DataError, match="shorten it or leave the row out"):
            encode_prompts([sample], byte_level(), 20)

    def test_a_row_that_only_asks_is_refused(self):
        sample = Sample(id="s:0", original_id="s:0", messages=asked().messages[:1])
        with pytest.raises(DataError, match="s:0: it asks but has no response"):
            one(sample, byte_level())
        (prompt,) = encode_prompts([sample], byte_level())
        assert byte_level().decode(prompt.token_ids) == "Why?\n"

    def test_a_tokenizer_without_offsets_reads_only_samples_that_bring_tokens(
        self, tmp_path
    ):
        from transformers import AutoTokenizer

        (tmp_path / "config.json").write_text('{"model_type": "ctrl"}')
        tokenizer = AutoTokenizer.from_pretrained(save_without_offsets(tmp_path))
        with pytest.raises(ModelError) as caught:
            one(asked(), tokenizer)
        assert str(caught.value) == (
            f"{tmp_path}: its tokenizer (CTRLTokenizer) does not tell which characters "
            "a token stands for, by which the response is found; give it a "
            "tokenizer.json, or give every sample as `input_ids` and `labels`"
        )
        assert caught.value.topic == "tokenizer-without-offsets"
        with pytest.raises(ModelError, match="does not tell which characters"):
            encode_prompts([asked()], tokenizer)
        given = pretokenised((1, 2, 3), (-100, 2, 3))
        assert one(given, tokenizer).token_ids.tolist() == [1, 2, 3]
        (prompt,) = encode_prompts([given], tokenizer)
        assert prompt.token_ids.tolist() == [1]


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data is absent")
class TestRealData:
    def tokenizer(self, name):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(DATA / name)

    @pytest.mark.parametrize("name", ["tokenizer_gpt2", "model_stories260K_hf"])
    @pytest.mark.parametrize("template", [None, CHATML])
    def test_the_published_refusals(self, name, template):
        tokenizer = self.tokenizer(name)
        tokenizer.chat_template = template
        tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
        file = DATA / "align_sft_llama2_short"
        found = read_samples(
            str(file / "SFT_aligned_llama2-7b-chat-hf_train_short.csv"), num_samples=40
        )
        assert found.shape == "prompt/response"
        for sample, encoded in zip(
            found.samples,
            encode(found.samples, tokenizer, Encoding()),
            strict=True,
        ):
            assert counted_text(encoded, tokenizer).strip() == sample.response
            assert (
                encoded.counted.sum() == encoded.counted[encoded.prompt_length :].sum()
            )

    def test_a_sentencepiece_like_tokenizer_adds_one_bos(self):
        tokenizer = self.tokenizer("model_stories260K_hf")
        encoded = one(asked("Once upon a time", "there was a girl"), tokenizer)
        assert encoded.token_ids.tolist().count(tokenizer.bos_token_id) == 1
        assert counted_text(encoded, tokenizer).strip() == "there was a girl"

    def test_prompts_of_the_refusal_direction_lists(self):
        tokenizer = self.tokenizer("tokenizer_gpt2")
        file = DATA / "refusal_direction_prompts/harmful_val.json"
        found = read_samples(str(file))
        assert len(found.samples) == len(json.loads(file.read_text()))
        prompts = encode_prompts(found.samples, tokenizer, 1024)
        assert tokenizer.decode(prompts[0].token_ids) == found.samples[0].prompt + "\n"


class TestOpenings:
    def prompt(self, sample, tokenizer, **opening):
        (found,) = encode_prompts([sample], tokenizer, None, Opening(**opening))
        return tokenizer.decode(found.token_ids)

    def test_bare_leaves_the_template_out(self):
        tokenizer = byte_level(template=CHATML)
        assert self.prompt(asked(), tokenizer, template="bare") == "Why?\n"
        assert "<|im_start|>" in self.prompt(asked(), tokenizer)

    def test_a_prefill_stands_where_the_answer_would(self):
        tokenizer = byte_level(template=CHATML)
        without = self.prompt(asked(), tokenizer)
        found = self.prompt(asked(), tokenizer, prefill="Sure, here is ")
        assert found == without + "Sure, here is"

    def test_a_prefill_without_template(self):
        found = self.prompt(asked(), byte_level(), prefill="Sure ")
        assert found == "Why?\nSure"
        assert self.prompt(running("Once"), byte_level(), prefill=" upon") == (
            "Once upon"
        )

    def test_a_prefill_merges_with_the_prompt_as_training_would(self):
        tokenizer = merging()
        (found,) = encode_prompts(
            [asked("Why?")], tokenizer, None, Opening(prefill="a")
        )
        whole = one(asked("Why?", "a"), tokenizer)
        assert found.token_ids.tolist() == whole.token_ids.tolist()

    def test_tokens_cannot_be_put_in_another_way(self):
        given = pretokenised((5, 6), (-100, 6))
        with pytest.raises(DataError, match=r"^p:0: it comes as tokens, so no templ"):
            self.prompt(given, byte_level(), prefill="Sure")
