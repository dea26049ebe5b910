import numpy as np
import pytest

from driftmap.core.errors import DataError, ModelError
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.paired_encoding import (
    PairEncoding,
    encode_pairs,
    encode_set,
    rule_sha256,
)
from driftmap.load.paired_sets import PairedSets
from driftmap.load.templates import with_template
from driftmap.results.samples import Message, Sample
from tokenizers_made import CHATML, byte_level, merging


def sample(name, answer="be", original_id=None, question="Why?"):
    turns = (
        Message(role="user", content=question),
        Message(role="assistant", content=answer),
    )
    return Sample(id=name, original_id=original_id or name, messages=turns)


def paired(originals, queries, **more):
    places = {one.id: number for number, one in enumerate(originals)}
    return PairedSets(
        originals=tuple(originals),
        queries=tuple(queries),
        original=tuple(places[one.original_id] for one in queries),
        sets=("paraphrased",) * len(queries),
        **more,
    )


def counted(encoded, tokenizer):
    return tokenizer.decode(encoded.token_ids[encoded.counted])


def one(answer, tokenizer, **settings):
    (found,) = encode([sample("s", answer)], tokenizer, Encoding(**settings))
    return found


class TestMask:
    def test_the_end_of_turn_counts_and_nothing_after_it(self):
        tokenizer = byte_level(template=CHATML)
        found = one("two", tokenizer, turn_end=True)
        assert counted(found, tokenizer) == "two<|im_end|>"
        assert tokenizer.decode(found.token_ids).endswith("two<|im_end|>\n")

    def test_of_two_ends_the_first_one(self):
        tokenizer = byte_level(template=CHATML + "{{ eos_token }}", end="</s>")
        found = one("two", tokenizer, turn_end=True)
        assert counted(found, tokenizer) == "two<|im_end|>"

    def test_what_stands_before_the_end_does_not_count(self):
        template = "{% for m in messages %}{{ m['content'] + '~~' }}{% endfor %}</s>"
        tokenizer = byte_level(template=template, end="</s>")
        assert counted(one("two", tokenizer, turn_end=True), tokenizer) == "two</s>"

    def test_none_is_added(self):
        found = one("be", merging(), turn_end=True)
        assert found.token_ids[-1] != merging().eos_token_id

    def test_an_end_inside_the_answer_is_text(self):
        tokenizer = byte_level(template=CHATML)
        found = one("a<|im_end|>b", tokenizer, turn_end=True)
        assert counted(found, tokenizer) == "a<|im_end|>b<|im_end|>"

    def test_a_token_that_holds_only_a_space_of_the_answer_is_the_templates(self):
        template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        tokenizer = joining(":", " ", template)
        tokens = tokenizer.convert_ids_to_tokens
        (found,) = encode([sample("s", " be", question="a:")], tokenizer, Encoding())
        assert tokens(found.token_ids.tolist()) == ["a", ": ", "b", "e"]
        assert tokens(found.token_ids[found.counted].tolist()) == ["b", "e"]

    def test_a_token_that_holds_a_letter_of_it_counts(self):
        template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
        tokenizer = joining(":", "b", template)
        tokens = tokenizer.convert_ids_to_tokens
        (found,) = encode([sample("s", "be", question="a:")], tokenizer, Encoding())
        assert tokens(found.token_ids[found.counted].tolist()) == [":b", "e"]

    @pytest.mark.parametrize("answer", ["🙂", "é→🙂 two", "中文"])
    def test_every_byte_of_a_character_counts(self, answer):
        tokenizer = byte_level(template=CHATML)
        found = one(answer, tokenizer, turn_end=True)
        assert counted(found, tokenizer) == answer + "<|im_end|>"

    def test_a_template_may_trim_but_not_add(self):
        adds = CHATML.replace(
            "{{ m['content'] | trim }}",
            "{{ '<think>' + m['content'] if 'two' in m['content'] else m['content'] }}",
        )
        with pytest.raises(ModelError, match="changes the response"):
            one("two", byte_level(template=adds))
        trimmed = one("  two ", byte_level(template=CHATML))
        assert counted(trimmed, byte_level(template=CHATML)) == "two"

    def test_think_tags_that_always_stand_there_are_the_templates(self):
        thinks = CHATML.replace("{{ m['content']", "{{ '<t></t>' + m['content']")
        tokenizer = byte_level(template=thinks)
        assert counted(one("two", tokenizer), tokenizer) == "two"


def joining(left, right, template):
    """A tokenizer that writes two characters as one token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = ["</s>", *sorted({"a", "b", "e", ":", " "}), left + right]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    model = Tokenizer(models.BPE(vocab=vocabulary, merges=[(left, right)]))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>")
    wrapped.chat_template = template
    return wrapped


class TestTulu:
    def test_golden_by_hand(self):
        tokenizer = with_template(byte_level(end="</s>", adds_bos=True), "tulu")
        found = one("two", tokenizer, turn_end=True)
        assert tokenizer.decode(found.token_ids) == (
            "<|user|>\nWhy?\n<|assistant|>\ntwo</s>"
        )
        assert counted(found, tokenizer) == "two</s>"
        (prompt,) = encode_prompts([sample("s")], tokenizer)
        assert tokenizer.decode(prompt.token_ids) == "<|user|>\nWhy?\n<|assistant|>\n"

    def test_the_tokenizer_given_stays_as_it_is(self):
        tokenizer = byte_level(template=CHATML)
        assert with_template(tokenizer, None) is tokenizer
        with_template(tokenizer, "tulu")
        assert tokenizer.chat_template == CHATML

    def test_without_an_end_token_it_is_refused(self):
        tokenizer = merging()
        tokenizer.eos_token = None
        with pytest.raises(ModelError, match="no end token, which the template `tulu`"):
            with_template(tokenizer, "tulu")


class TestPairs:
    def test_golden_by_hand(self):
        tokenizer = byte_level(template=CHATML)
        pairs = paired(
            [sample("a", "one"), sample("b", "two"), sample("c", "one")],
            [sample("q", "three", "b"), sample("r", "four", "c")],
        )
        found = encode_pairs(pairs, tokenizer, PairEncoding())
        assert [e.sample_id for e in found.originals] == ["a", "b", "c"]
        assert [e.sample_id for e in found.queries] == ["q", "r"]
        assert found.truth.original.tolist() == [1, 2]
        assert found.truth.same.tolist() == [0, 1, 0]
        assert found.truth.sets == ("paraphrased", "paraphrased")
        assert found.num_same == 2
        assert found.truth.same.dtype == np.int64
        assert counted(found.queries[0], tokenizer) == "three<|im_end|>"

    def test_an_answer_that_was_cut_off_has_no_end(self):
        tokenizer = byte_level(template=CHATML)
        pairs = paired(
            [sample("a")],
            [sample("q", "one", "a"), sample("r", "two", "a")],
            remarks={"r": ("incomplete",), "q": ("flagged: it is short",)},
        )
        found = encode_pairs(pairs, tokenizer, PairEncoding())
        said = [counted(one, tokenizer) for one in found.queries]
        assert said == ["one<|im_end|>", "two"]

    def test_every_token_but_the_first(self):
        tokenizer = byte_level(template=CHATML)
        pairs = paired([sample("a")], [sample("q", original_id="a")])
        found = encode_pairs(pairs, tokenizer, PairEncoding(loss_on="all"))
        assert found.queries[0].counted.tolist() == [False] + [True] * (
            len(found.queries[0].counted) - 1
        )

    def long(self):
        return paired(
            [sample("a"), sample("b", "one two " * 20), sample("c")],
            [
                sample("q", original_id="a"),
                sample("r", original_id="b"),
                sample("s", "one two " * 30, "c"),
                sample("t", original_id="c"),
            ],
        )

    def test_long_samples_are_listed(self):
        tokenizer = byte_level(template=CHATML)
        with pytest.raises(DataError) as caught:
            encode_pairs(self.long(), tokenizer, PairEncoding(max_length=40))
        longest = [len(e.token_ids) for e in encode(
            [self.long().originals[1], self.long().queries[2]], tokenizer, Encoding()
        )]  # fmt: skip
        assert str(caught.value) == (
            "2 of 7 samples are longer than the 40 tokens that the model reads at "
            f"once: b ({longest[0]}), s ({longest[1]}); leave them out (--too-long "
            "drop) or read them all the same (--too-long keep)"
        )

    def test_dropped_with_their_queries(self):
        tokenizer = byte_level(template=CHATML)
        settings = PairEncoding(max_length=40, too_long="drop")
        found = encode_pairs(self.long(), tokenizer, settings)
        assert [e.sample_id for e in found.originals] == ["a", "c"]
        assert [e.sample_id for e in found.queries] == ["q", "t"]
        assert found.truth.original.tolist() == [0, 1]
        assert len(found.truth.same) == 2
        assert [(d.sample_id, d.set, d.why) for d in found.pairs.dropped] == [
            ("b", "original", "longer than the context"),
            ("r", "paraphrased", "their original is longer than the context"),
            ("s", "paraphrased", "longer than the context"),
        ]
        assert found.too_long == ()

    def test_kept_whole(self):
        tokenizer = byte_level(template=CHATML)
        settings = PairEncoding(max_length=40, too_long="keep")
        found = encode_pairs(self.long(), tokenizer, settings)
        assert found.too_long == ("b", "s")
        assert len(found.originals[1].token_ids) > 40

    def test_nothing_left_is_an_error(self):
        pairs = paired([sample("a", "one " * 30)], [sample("q", original_id="a")])
        settings = PairEncoding(max_length=25, too_long="drop")
        with pytest.raises(DataError, match="every query is too long for the model, o"):
            encode_pairs(pairs, byte_level(), settings)


def test_the_rule_follows_template_tokenizer_and_loss():
    plain, chat = byte_level(), byte_level(template=CHATML)
    rules = {
        rule_sha256(tokenizer, PairEncoding(loss_on=loss_on))
        for tokenizer in (plain, chat, merging(), with_template(chat, "tulu"))
        for loss_on in ("answer", "all")
    }
    assert len(rules) == 8
    again = rule_sha256(byte_level(), PairEncoding(max_length=3, too_long="drop"))
    assert again in rules


class TestOneSet:
    def test_it_is_encoded_as_the_same_samples_of_pairs_are(self):
        tokenizer = byte_level(template=CHATML)
        samples = [sample("a"), sample("b", "to be"), sample("c", "or not")]
        both = encode_pairs(
            paired(samples, [sample("q", original_id="a")]), tokenizer, PairEncoding()
        )
        alone = encode_set(samples, tokenizer, PairEncoding())
        for one_way, other in zip(both.originals, alone, strict=True):
            assert one_way.sample_id == other.sample_id
            assert np.array_equal(one_way.token_ids, other.token_ids)
            assert np.array_equal(one_way.counted, other.counted)

    def test_long_ones_are_refused_or_left_out(self):
        tokenizer = byte_level(template=CHATML)
        samples = [sample("a"), sample("b", "to be " * 30)]
        settings = PairEncoding(max_length=60)
        with pytest.raises(DataError, match="1 of 2 samples are longer than the 60"):
            encode_set(samples, tokenizer, settings)
        left = encode_set(
            samples, tokenizer, PairEncoding(max_length=60, too_long="drop")
        )
        assert [one.sample_id for one in left] == ["a"]
        with pytest.raises(DataError, match="no sample is left"):
            encode_set(
                samples[1:], tokenizer, PairEncoding(max_length=60, too_long="drop")
            )
