import math
import re

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from driftmap.core.errors import DataError, ModelError
from driftmap.load.embeddings import BATCH, embedded_by_server, embedded_here
from driftmap.load.endpoint import Endpoint
from made_server import refusal, serving
from tiny_studies import save_tiny_model

TEXTS = ["one two three", "why?", "the sky is blue the sky is blue", "ten"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("encoder"))


class TestHere:
    def test_it_is_the_mean_over_tokens_one_text_at_a_time(self, model):
        found = embedded_here(str(model), TEXTS, "cpu")
        tokenizer = AutoTokenizer.from_pretrained(model)
        encoder = AutoModel.from_pretrained(model, dtype=torch.float32).eval()
        for row, text in zip(found, TEXTS, strict=True):
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                mean = encoder(input_ids=ids).last_hidden_state[0].mean(0)
            expected = (mean / mean.norm()).numpy()
            np.testing.assert_allclose(row, expected, atol=2e-6)
        assert found.shape == (4, 16)

    def test_rows_have_length_one_and_equal_texts_are_equal(self, model):
        texts = [*TEXTS, TEXTS[1]]
        found = embedded_here(str(model), texts, "cpu")
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
        np.testing.assert_allclose(found[1], found[4], atol=1e-6)
        assert found[0] @ found[1] < 0.999

    def test_a_long_text_is_cut_at_the_context(self, model):
        long = "\x7f" * 400
        found = embedded_here(str(model), [long, long[:128]], "cpu")
        np.testing.assert_allclose(found[0], found[1], atol=1e-6)

    def test_what_is_no_encoder_is_named(self, model, tmp_path):
        with pytest.raises(ModelError, match="there is no such folder"):
            embedded_here(str(tmp_path / "none"), TEXTS, "cpu")
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ModelError, match="cannot be loaded as a text encoder"):
            embedded_here(str(tmp_path), TEXTS, "cpu")


def by_vowels(_path, body, _seen):
    rows = [[text.count(v) for v in "aeiou"] for text in body["input"]]
    data = [
        {"object": "embedding", "index": k, "embedding": row}
        for k, row in reversed(list(enumerate(rows)))
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return {"object": "list", "model": "m", "data": data, "usage": usage}


class TestByServer:
    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch):
        pytest.importorskip("openai", reason="pip install 'driftmap[endpoint]'")
        monkeypatch.setenv("OPENAI_API_KEY", "none")

    def test_golden_by_hand(self):
        with serving(by_vowels) as served:
            endpoint = Endpoint(url=served.address, model="m")
            found = embedded_by_server(endpoint, ["banana", "tree house"])
        length = math.sqrt(9 + 1 + 1)
        np.testing.assert_allclose(
            found, [[1, 0, 0, 0, 0], [0, 3 / length, 0, 1 / length, 1 / length]]
        )
        assert served.asked[0]["input"] == ["banana", "tree house"]

    def test_many_texts_are_asked_in_turn(self):
        texts = ["a" * (1 + k % 3) + "e" for k in range(BATCH + 2)]
        with serving(by_vowels) as served:
            endpoint = Endpoint(url=served.address, model="m")
            found = embedded_by_server(endpoint, texts)
        assert [len(body["input"]) for body in served.asked] == [BATCH, 2]
        np.testing.assert_allclose(found[-1], found[(BATCH + 1) % 3])

    def test_a_text_without_direction_is_named(self):
        with serving(by_vowels) as served:
            endpoint = Endpoint(url=served.address, model="m")
            with pytest.raises(DataError, match="'hmm': its embedding is zero"):
                embedded_by_server(endpoint, ["a", "hmm"])

    def test_what_a_server_will_not_do_is_one_sentence(self):
        said = "the server has no such page or model (no embeddings)"
        with serving(lambda *_: (404, refusal("no embeddings"))) as served:
            endpoint = Endpoint(url=served.address, model="m")
            with pytest.raises(ModelError, match=re.escape(said)):
                embedded_by_server(endpoint, ["a"])

    def test_what_is_no_embedding_is_refused(self):
        with serving(lambda *_: {"data": [{"index": 3, "embedding": [1]}]}) as served:
            endpoint = Endpoint(url=served.address, model="m")
            with pytest.raises(ModelError, match="no reply of the protocol"):
                embedded_by_server(endpoint, ["a"])
