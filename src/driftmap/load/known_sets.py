"""Which data sets have a name here, whose are they, and under which licence?

A set is one row of data; `known_rows` finds and reads it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class WebFile:
    """One published file.

    Args:
        page: Where a person can look it up.
        url: The file itself, at a fixed version.
        sha256: Of its bytes; what is downloaded or copied must have it.
    """

    page: str
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """What it is called on this machine too."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSet:
    """A data set on the hub.

    Args:
        repository: `OWNER/NAME[@CONFIG][:SPLIT]`.
        stem: What a copy of it is called on this machine, without the ending.
        column: Only rows are taken that hold `value` in this column; all by default.
        value: What they hold there.
    """

    repository: str
    stem: str
    column: str | None = None
    value: str = ""

    @property
    def page(self) -> str:
        """Where a person can look it up."""
        return f"https://huggingface.co/datasets/{self.repository}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """One data set that a name stands for.

    Args:
        name: What a person writes in place of a file, and the first half of the ids.
        what: What it holds, in a few words.
        licence: What its authors allow.
        origin: Where it comes from.
        leaves_out: Rows that hold one of these phrases, at the start of a word and in
            whatever case, are dropped.
        num_turns: Rows with another number of `messages` are dropped; all stay by
            default (count).
    """

    name: str
    what: str
    licence: str
    origin: WebFile | HubSet
    leaves_out: tuple[str, ...] = ()
    num_turns: int | None = None


SAFETY_PHRASES = (
    # An answer that refuses, warns or speaks as a machine.
    "as an ai,", "as an ai language", "as an ai model", "as an ai assistant",
    "i am an ai language", "i'm an ai language", "i'm just an ai", "i am just an ai",
    "as a language model", "as a responsible",
    "i cannot assist", "i can't assist", "i cannot help", "i can't help",
    "i cannot provide", "i can't provide", "i cannot fulfill", "i can't fulfill",
    "i cannot generate", "i can't generate", "i cannot create", "i can't create",
    "i cannot condone", "i do not condone", "i am sorry, but", "i'm sorry, but",
    "i am not able to", "i'm not able to", "i am unable to", "i'm unable to",
    "i must decline", "not appropriate", "inappropriate", "unethical", "immoral",
    "against the law", "it is wrong to", "it is important to remember that",
    # A request that one would refuse, or talk about such requests.
    "illegal", "harmful", "hate speech", "hateful", "racist", "racism", "sexist",
    "sexism", "homophob", "discriminat", "stereotyp", "derogatory", "slur", "insult",
    "offensive", "bully", "cyberbull", "harass", "threaten", "violence", "violent",
    "murder", "how to kill", "torture", "weapon", "firearm", "explosive", "bomb",
    "terroris", "extremis", "suicid", "self-harm", "abuse", "assault", "rape",
    "porn", "sexual", "nude", "drug deal", "cocaine", "heroin", "steal", "theft",
    "robbery", "burglar", "kidnap", "blackmail", "extort", "fraud", "scam", "phish",
    "counterfeit", "launder", "malware", "ransomware", "computer virus", "hacker",
    "hack into", "identity theft", "misinformation", "disinformation", "fake news",
    "conspiracy", "plagiari", "cheat on",
)  # fmt: skip
"""Marks of rows about safety. A broad list of our own: it drops harmless rows too."""

_CLEANED = HubSet(repository="yahma/alpaca-cleaned", stem="alpaca_cleaned")
_LIMA_VERSION_LICENCE = "see its page; that of lima holds too"
_CLEANED_LICENCE = "CC-BY-4.0 (on GitHub its authors say CC-BY-NC-4.0)"

KNOWN_SETS: tuple[KnownSet, ...] = (
    KnownSet(
        name="align",
        what="harmful requests, refused by Llama-2-7b-chat (Wei et al. 2024)",
        licence="MIT",
        origin=WebFile(
            page="https://github.com/boyiwei/alignment-attribution-code",
            url="https://raw.githubusercontent.com/boyiwei/alignment-attribution-code/"
            "0b0e7075d13f77621678976faa0fc66a4b2dffb4/data/"
            "SFT_aligned_llama2-7b-chat-hf_train_short.csv",
            sha256="84e1d4fb44adbffb7b2dddd20e967aeaba9702c16b0160920778b8517c284439",
        ),
    ),
    KnownSet(
        name="alpaca",
        what="52,002 instructions answered by text-davinci-003 (Taori et al. 2023)",
        licence="CC-BY-NC-4.0",
        origin=HubSet(repository="tatsu-lab/alpaca", stem="alpaca"),
    ),
    KnownSet(
        name="alpaca_cleaned",
        what="alpaca with broken rows mended or removed",
        licence=_CLEANED_LICENCE,
        origin=_CLEANED,
    ),
    KnownSet(
        name="alpaca_cleaned_no_safety",
        what="alpaca_cleaned without the rows that a list of phrases marks as about "
        "safety",
        licence=_CLEANED_LICENCE,
        origin=_CLEANED,
        leaves_out=SAFETY_PHRASES,
    ),
    KnownSet(
        name="lima",
        what="988 questions with one answer of LIMA (Zhou et al. 2023), as in Tulu 2",
        licence="ODC-BY (Tulu 2); LIMA itself: CC-BY-NC-SA, or stricter by source",
        origin=HubSet(
            repository="allenai/tulu-v2-sft-mixture",
            stem="lima",
            column="dataset",
            value="lima",
        ),
        num_turns=2,
    ),
    KnownSet(
        name="lima_paraphrased",
        what="lima, questions and answers paraphrased by GPT-4o mini (Select or "
        "Project?, arXiv:2601.16651)",
        licence=_LIMA_VERSION_LICENCE,
        origin=HubSet(
            repository="lukashinterleitner/LIMA-paraphrased-GPT-4o-mini",
            stem="lima_paraphrased",
        ),
    ),
    KnownSet(
        name="lima_generated",
        what="answers of AMD-OLMo-1B-SFT to the questions of lima_paraphrased "
        "(the same)",
        licence=_LIMA_VERSION_LICENCE,
        origin=HubSet(
            repository="lukashinterleitner/LIMA-model-generated-amd-AMD-OLMo-1B-SFT",
            stem="lima_generated",
        ),
    ),
)

VERSIONS_OF: Mapping[str, tuple[str, ...]] = {
    "lima": ("lima_paraphrased", "lima_generated")
}
"""Known sets that hold versions of another known set, by its name."""
