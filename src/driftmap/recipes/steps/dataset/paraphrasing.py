"""How does a server say every sample in other words, each text paid for once?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import DataError, StoreError
from driftmap.core.progress import progress, say
from driftmap.core.units import format_count
from driftmap.load.endpoint import Endpoint, endpoint_url, require_client
from driftmap.load.own_ids import Version
from driftmap.load.paired_sets import Taking, read_originals
from driftmap.load.paraphrases import Rewording, about_tokens
from driftmap.recipes.dataset_options import AskedServerOptions, RewordingOptions
from driftmap.recipes.steps.dataset.rewordings import judged, paraphrases, requests
from driftmap.recipes.steps.dataset.sets import (
    SetPlace,
    SetRecord,
    alone,
    listed,
    turns,
)
from driftmap.results.chat import ChatReply, ChatRequest
from driftmap.store.replies import Replies


@dataclass(frozen=True, slots=True, kw_only=True)
class Paraphrasing:
    """What is paraphrased, and how.

    Args:
        data: Source of the originals.
        columns: The source's columns by the names that shapes know.
        num_samples: Originals that are drawn; all by default.
        options: How many versions, how drawn, at which price.
        server: Who is asked.
        seed: Decides draws, of originals and of replies.
    """

    data: str
    columns: Mapping[str, str]
    num_samples: int | None
    options: RewordingOptions
    server: AskedServerOptions
    seed: int

    @property
    def rewording(self) -> Rewording:
        """How one text is said in other words."""
        return Rewording(
            model=self.server.endpoint_model,
            temperature=float(self.options.temperature),
            seed=self.seed,
            max_tokens=self.options.longest_reply,
        )

    def record(self, originals: Version) -> SetRecord:
        """What decides the rows. Not the address: the same model may move."""
        number = "all" if self.num_samples is None else str(self.num_samples)
        ids = tuple(one.id for one in originals.samples)
        return SetRecord(
            settings={
                "model": self.rewording.model,
                "temperature": str(self.rewording.temperature),
                "seed": str(self.seed),
                "num_versions": str(self.options.num_versions),
                "longest_reply": str(self.options.longest_reply),
                "num_samples": number,
                "data": originals.sha256[:12],
            },
            of=originals.sha256,
            num_rows=len(ids) * self.options.num_versions,
            lacking=ids,
        )


def make_paraphrases(plan: Paraphrasing, folder: Path) -> Path:
    """Make the paraphrases that are not there yet.

    Args:
        plan: What is paraphrased, and how.
        folder: Where `originals.jsonl` and `paraphrased.jsonl` lie.

    Returns:
        The paraphrases.

    Raises:
        DataError: The originals cannot be used.
        ModelError: The server cannot be reached or refuses; what it said before that
            is kept.
        StoreError: Another set lies there.
    """
    taking = Taking(num_samples=plan.num_samples, seed=plan.seed, columns=plan.columns)
    originals = read_originals(plan.data, taking)
    _must_hold_text(originals)
    place = SetPlace(folder=folder, name="paraphrased")
    empty = plan.record(originals)
    with alone(folder):
        found = place.found(empty.settings)
        if found is not None and not found.lacking:
            say(f"{place.rows}: it is there, made with these settings, and is reused")
            return place.rows
        _put_originals(SetPlace(folder=folder, name="originals"), originals, found)
        if found is None:
            place.begin(empty)
        _make(plan, originals, place, empty)
    return place.rows


def _must_hold_text(originals: Version) -> None:
    bare = [one.id for one in originals.samples if not one.messages]
    if bare:
        raise DataError(
            f"{originals.source}: {len(bare)} rows hold token ids and no text "
            f"({listed(bare)}), and only text can be said in other words"
        )


def _put_originals(
    place: SetPlace, originals: Version, found: SetRecord | None
) -> None:
    """Write the originals beside their paraphrases, under the ids that these name."""
    if Path(originals.source).resolve() == place.rows.resolve():
        return
    if place.rows.exists() and found is None:
        raise StoreError(
            f"{place.rows}: originals lie there already, and no paraphrases of them; "
            "give them as --data, or choose another --out"
        )
    place.save_rows(
        [
            {"id": one.id, "messages": turns(one.messages), "label": one.label}
            for one in originals.samples
        ]
    )


def _make(
    plan: Paraphrasing, originals: Version, place: SetPlace, empty: SetRecord
) -> None:
    replies = place.replies()
    wanted = paraphrases(originals.samples, plan.options.num_versions, plan.rewording)
    asked = requests(wanted, plan.rewording, replies)
    if asked:
        _ask(plan, asked, replies)
    record, rows = judged(wanted, replies, empty)
    place.save(record, rows)
    _say_what_came(plan, place, record, len(originals.samples))


def _ask(
    plan: Paraphrasing, asked: Mapping[str, ChatRequest], replies: Replies
) -> None:
    require_client()
    endpoint = Endpoint(
        url=endpoint_url(plan.server.endpoint),
        model=plan.rewording.model,
        timeout=plan.server.endpoint_timeout,
        num_parallel=plan.server.endpoint_parallel,
    )
    _say_what_is_asked(plan, endpoint.name, asked)
    keys = list(asked)
    spent = [0, 0]
    with progress(f"ask {endpoint.name}", len(keys)) as bar:

        def take(number: int, reply: ChatReply) -> None:
            replies.add(keys[number], _row(reply))
            spent[0] += reply.prompt_tokens
            spent[1] += reply.reply_tokens
            bar.advance(1, _tokens(plan.options, *spent))

        endpoint.each_reply(list(asked.values()), take, plan.server.requests_per_minute)


def _row(reply: ChatReply) -> dict[str, object]:
    return {
        "text": reply.text,
        "ended": reply.ended,
        "tokens_in": reply.prompt_tokens,
        "tokens_out": reply.reply_tokens,
    }


def _say_what_is_asked(
    plan: Paraphrasing, name: str, asked: Mapping[str, ChatRequest]
) -> None:
    """Say what it will cost, before the first request."""
    told = [one.messages for one in asked.values()]
    tokens_in = sum(about_tokens(turn.content) for turns in told for turn in turns)
    tokens_out = sum(about_tokens(turns[-1].content) for turns in told)
    say(
        f"{name} is asked {len(asked)} times, about "
        f"{_tokens(plan.options, tokens_in, tokens_out)}"
    )


def _tokens(options: RewordingOptions, tokens_in: int, tokens_out: int) -> str:
    cost = options.cost(tokens_in, tokens_out)
    price = "" if cost is None else f", {cost:,.2f} at the prices given"
    return (
        f"{format_count(tokens_in)} tokens in and {format_count(tokens_out)} out{price}"
    )


def _say_what_came(
    plan: Paraphrasing, place: SetPlace, record: SetRecord, num_ids: int
) -> None:
    spent = _tokens(plan.options, record.tokens_in, record.tokens_out)
    say(
        f"{place.rows.name}: {record.num_rows - len(record.rejected)} of "
        f"{record.num_rows} paraphrases, {len(record.flagged)} of them flagged "
        f"({place.settings.name} says why); all in all {spent}"
    )
    for row_id, why in list(record.rejected.items())[:3]:
        say(f"{row_id} is rejected: {why}")
    if record.lacking:
        say(place.lacks(record, num_ids))
