import pytest

from driftmap.core.errors import StoreError
from driftmap.store.replies import Replies


def test_what_is_added_is_there_at_once_and_later(tmp_path):
    file = tmp_path / "new/replies.jsonl"
    replies = Replies(file)
    assert replies.of("a") == []
    replies.add("a", {"text": "é\n"})
    replies.add("b", {"text": ""})
    replies.add("a", {"text": "again"})
    for one in (replies, Replies(file)):
        assert one.of("a") == [{"text": "é\n"}, {"text": "again"}]
        assert one.of("b") == [{"text": ""}]
    assert len(file.read_text().splitlines()) == 3


@pytest.mark.parametrize("cut", range(1, 22))
def test_half_a_line_is_no_reply_and_leaves_no_trace(tmp_path, cut):
    file = tmp_path / "replies.jsonl"
    whole = Replies(file)
    whole.add("a", {"text": "one"})
    first = file.read_bytes()
    whole.add("b", {"t": 2})
    file.write_bytes(file.read_bytes()[:-cut])
    after = Replies(file)
    assert after.of("a") == [{"text": "one"}]
    assert after.of("b") == []
    after.add("c", {"t": 3})
    assert file.read_bytes() == first + b'{"key": "c", "t": 3}\n'
    assert Replies(file).of("c") == [{"t": 3}]


@pytest.mark.parametrize("line", ["{", "[1]", '{"text": "no key"}', '{"key": 3}'])
def test_a_broken_line_is_named(tmp_path, line):
    file = tmp_path / "replies.jsonl"
    file.write_text(f'{{"key": "a"}}\n{line}\n{{"key": "b"}}\n')
    with pytest.raises(StoreError) as caught:
        Replies(file)
    assert str(caught.value) == (
        f"{file}: line 2 is no reply; put the file back as it was, or remove it, and "
        "what it held is asked again"
    )
