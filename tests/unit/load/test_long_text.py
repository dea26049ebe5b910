import hashlib
import json
import re

import numpy as np
import pytest

from driftmap.core.errors import DataError, ModelError
from driftmap.load.long_text import LongText, encode_text, read_text
from tokenizers_made import byte_level, save_without_offsets


def long_text(text):
    return LongText(name="t", text=text, sha256="")


def test_plain_file_is_one_text_as_it_stands(tmp_path):
    file = tmp_path / "poem.txt"
    file.write_bytes("one\n\n\ntwo é\n".encode())
    read = read_text(str(file))
    assert (read.name, read.text) == ("poem", "one\n\n\ntwo é\n")
    assert read.sha256 == hashlib.sha256(read.text.encode()).hexdigest()


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_rows_are_joined_by_blank_lines_empty_ones_too(tmp_path, ending):
    rows = [" = Title = ", "", "first line", "second"]
    file = tmp_path / f"wiki.{ending}"
    if ending == "csv":
        file.write_text("id,text\n" + "".join(f"{i},{t}\n" for i, t in enumerate(rows)))
    elif ending == "json":
        file.write_text(json.dumps([{"text": t} for t in rows]))
    else:
        file.write_text("".join(json.dumps({"text": t}) + "\n" for t in rows))
    assert read_text(str(file)).text == " = Title = \n\n\n\nfirst line\n\nsecond"


def test_bytes_are_counted_by_what_tokens_stand_for():
    said = "The sky is blue. é 日本 🙂 end"
    for adds_bos in (False, True):
        tokenizer = byte_level(adds_bos=adds_bos)
        encoded = encode_text(long_text(said), tokenizer)
        assert encoded.byte_ends[-1] == len(said.encode())
        assert (np.diff(encoded.byte_ends) >= 0).all()
        plain = tokenizer(said)["input_ids"]
        assert encoded.token_ids.tolist() == plain
        assert (encoded.byte_ends[0] == 0) == adds_bos
    # Each token of plain letters ends where its own bytes do.
    ascii_only = encode_text(long_text("What colour is it?"), byte_level())
    pieces = [byte_level().decode([i]) for i in ascii_only.token_ids]
    assert ascii_only.byte_ends.tolist() == np.cumsum([*map(len, pieces)]).tolist()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            '{"prompt": "x"}\n',
            "it has no column `text` (its columns: prompt)",
        ),
        ("a.jsonl", '{"text": 3}\n', "`text` of row 1 is no text; mend or remove it"),
        ("a.txt", " \n\n", "it holds no text; is it the right file?"),
        ("a.txt", b"\xff\xfe", "byte 0 is not UTF-8; save the file as UTF-8"),
        ("a.json", '[{"text": "\\ud800"}]', "character 0 of its text is half of a"),
        ("a.doc", "x", "files ending in .doc are not read"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, name, content, said):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read_text(str(file))
    assert str(caught.value).startswith(f"{file}: ")


def test_missing_file_is_refused():
    with pytest.raises(DataError, match="no_such: there is no such file"):
        read_text("no_such")


def test_tokenizer_without_offsets_is_refused(tmp_path):
    from transformers import AutoTokenizer

    slow = AutoTokenizer.from_pretrained(save_without_offsets(tmp_path))
    with pytest.raises(ModelError, match="by which bytes are counted"):
        encode_text(long_text("the"), slow)
