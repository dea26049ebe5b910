"""Which texts does each paraphrase consist of, and what came of them?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from driftmap.load.paraphrases import Rewording, Status, Verdict, checked
from driftmap.recipes.steps.dataset.sets import SetRecord, turns, version_id
from driftmap.results.chat import ChatReply, ChatRequest, Ended
from driftmap.results.samples import Message, Sample
from driftmap.store.replies import Replies

_SPOKEN = ("user", "assistant")
_ENDED: Mapping[str, Ended] = {
    "whole": "whole", "length": "length", "filtered": "filtered", "other": "other",
}  # fmt: skip
_UNASKED = Verdict(text="", status="rejected", reasons=("it was not asked yet",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text that is to be restated.

    Args:
        key: What a reply to it depends on.
        text: The text.
        beside: What the other side says in its sample.
    """

    key: str
    text: str
    beside: str

    def verdict(self, replies: Replies) -> Verdict:
        """What the last reply to it is worth."""
        found = replies.of(self.key)
        if not found:
            return _UNASKED
        said, ended = found[-1].get("text", ""), found[-1].get("ended")
        reply = ChatReply(text=str(said), ended=_ENDED.get(str(ended), "other"))
        return checked(self.text, reply, self.beside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paraphrase:
    """One version of one sample that is to be.

    Args:
        sample: The original.
        number: Which of its versions, from 1.
        texts: What is restated: the turns of user and assistant, in order.
    """

    sample: Sample
    number: int
    texts: tuple[Text, ...]

    @property
    def id(self) -> str:
        """The id of its row."""
        return version_id(self.sample.id, "paraphrased", self.number)

    def row(self, verdicts: Sequence[Verdict], origin: object) -> dict[str, object]:
        """The row of a samples file."""
        said = iter(verdicts)
        spoken = [
            Message(role=turn.role, content=next(said).text)
            if turn.role in _SPOKEN
            else turn
            for turn in self.sample.messages
        ]
        return {
            "id": self.id,
            "original_id": self.sample.id,
            "version": "paraphrased",
            "messages": turns(spoken),
            "label": self.sample.label,
            "flags": list(reasons(verdicts, "flagged")),
            "origin": origin,
        }


def paraphrases(
    samples: Sequence[Sample], num_versions: int, rewording: Rewording
) -> tuple[Paraphrase, ...]:
    """List every version that is to be, by sample, then by number."""
    return tuple(
        Paraphrase(
            sample=sample,
            number=number,
            texts=tuple(_texts(sample, number, rewording)),
        )
        for sample in samples
        for number in range(1, num_versions + 1)
    )


def requests(
    wanted: Sequence[Paraphrase], rewording: Rewording, replies: Replies
) -> dict[str, ChatRequest]:
    """What must be asked, by key: each text once that has no reply to be taken."""
    found: dict[str, ChatRequest] = {}
    for one in wanted:
        for text in one.texts:
            if text.key in found or text.verdict(replies).status != "rejected":
                continue
            tries = len(replies.of(text.key))
            found[text.key] = rewording.request(one.id, text.text, one.number, tries)
    return found


def judged(
    wanted: Sequence[Paraphrase], replies: Replies, record: SetRecord
) -> tuple[SetRecord, list[dict[str, object]]]:
    """Sort what came into rows, and what is odd or missing into the record.

    Args:
        wanted: Every version that should be there.
        replies: What came.
        record: Settings and number of the rows.

    Returns:
        The record, filled in, and the rows.
    """
    rows: list[dict[str, object]] = []
    rejected: dict[str, str] = {}
    flagged: dict[str, str] = {}
    lacking: dict[str, None] = {}
    for one in wanted:
        verdicts = [text.verdict(replies) for text in one.texts]
        if said := reasons(verdicts, "rejected"):
            rejected[one.id] = "; ".join(said)
            lacking[one.sample.id] = None
            continue
        if said := reasons(verdicts, "flagged"):
            flagged[one.id] = "; ".join(said)
        rows.append(one.row(verdicts, dict(record.settings)))
    keys = {text.key for one in wanted for text in one.texts}
    filled = SetRecord(
        settings=record.settings,
        of=record.of,
        num_rows=record.num_rows,
        lacking=tuple(lacking),
        rejected=rejected,
        flagged=flagged,
        tokens_in=_spent(replies, keys, "tokens_in"),
        tokens_out=_spent(replies, keys, "tokens_out"),
    )
    return filled, rows


def reasons(verdicts: Sequence[Verdict], status: Status) -> tuple[str, ...]:
    """Why some texts of a sample are not simply taken."""
    return tuple(
        reason for one in verdicts if one.status == status for reason in one.reasons
    )


def _texts(sample: Sample, number: int, rewording: Rewording) -> Iterator[Text]:
    spoken = [turn for turn in sample.messages if turn.role in _SPOKEN]
    for turn in spoken:
        yield Text(
            key=rewording.key(turn.content, number),
            text=turn.content,
            beside="\n".join(t.content for t in spoken if t.role != turn.role),
        )


def _spent(replies: Replies, keys: set[str], name: str) -> int:
    counts = [one.get(name) for key in keys for one in replies.of(key)]
    return sum(count for count in counts if isinstance(count, int))
