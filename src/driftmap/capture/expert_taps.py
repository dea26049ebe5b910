"""What do the matrices of experts show while one batch runs through the model?

The banks run on rows sorted by expert. What an expert saw goes out as from any other
map: one matrix of inputs, and one of gradients at the outputs, for every sample that
sent it tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from driftmap.capture.bank_turns import BankTurns
from driftmap.capture.expert_visits import Visits, require_finite_rows, visits_of
from driftmap.capture.taps import Emit, Wanted, rows_of
from driftmap.core.places import Site
from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_switch import running_experts
from driftmap.families.grouped_maps import ExpertRows
from driftmap.families.matrices import site_module, site_weight
from driftmap.signals.batch import Batch
from driftmap.signals.fold import LinearCall, SiteSignal


class ExpertTaps:
    """Turns executions of banks into signals, expert by expert.

    Args:
        model: The model that holds the sites.
        sites: Matrices of experts.
        emit: Takes each signal: one of the samples that went to the expert, and one
            without calls of those that did not.
        wanted: What signals carry; they come out during the backward where there is
            one, else during the forward.
    """

    def __init__(
        self, model: nn.Module, sites: Sequence[Site], emit: Emit, *, wanted: Wanted
    ) -> None:
        self._model = model
        self._emit = emit
        self._wanted = wanted
        self._sites: dict[str, dict[tuple[str, int], list[Site]]] = {}
        for site in sites:
            assert site.tensor is not None
            assert site.expert is not None
            site_module(model, site)
            of_bank = self._sites.setdefault(site.path, {})
            of_bank.setdefault((site.tensor, site.expert), []).append(site)
        self._batch: Batch | None = None
        self._turns = BankTurns(self._sites)
        self._visits: tuple[ExpertRows, list[Visits]] | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the banks run on sorted rows for as long as the block runs."""
        calls = {path: partial(self._call, path) for path in self._sites}
        with running_experts(self._model, calls):
            yield

    def forward(self, batch: Batch, run: Callable[[], Tensor]) -> Tensor:
        """Do the forward pass of one batch and return what `run` returns."""
        self._batch = batch
        self._turns.begin()
        return run()

    def finish(self) -> None:
        """Require that every bank has shown both of its maps.

        Raises:
            MeasureError: One ran by another way than ours, or no gradient came back.
        """
        self._turns.finish()
        self._batch = self._visits = None

    def _call(self, path: str) -> BankCall:
        assert self._batch is not None
        self._turns.run(path, may_repeat=self._wanted.backward)
        return BankCall(
            receive=partial(self._receive, path) if self._wanted.backward else None,
            see=None if self._wanted.backward else partial(self._see, path),
            kept=self._batch.real.flatten(),
        )

    def _see(self, path: str, name: str, inputs: Tensor, rows: ExpertRows) -> None:
        self._take(path, name, (inputs.detach(), None), rows)

    def _receive(
        self, path: str, name: str, inputs: Tensor, gradients: Tensor, rows: ExpertRows
    ) -> None:
        self._take(path, name, (inputs.detach(), gradients.detach()), rows)

    def _take(
        self,
        path: str,
        name: str,
        shown: tuple[Tensor, Tensor | None],
        rows: ExpertRows,
    ) -> None:
        batch = self._batch
        assert batch is not None
        self._turns.show(path)
        for values, what in zip(shown, ("input", "gradient"), strict=True):
            if values is not None:
                require_finite_rows(values, rows, batch.sample_ids, path, what)
        observed = batch.observed.flatten().to(rows.token.device)[rows.token, None]
        for visits in self._visits_of(rows, len(batch.sample_ids)):
            sites = self._sites[path].get((name, visits.expert), ())
            if sites:
                self._send(sites, visits, shown, observed)

    def _visits_of(self, rows: ExpertRows, num_samples: int) -> list[Visits]:
        """Both maps of a bank have the same rows."""
        if self._visits is None or self._visits[0] is not rows:
            self._visits = rows, list(visits_of(rows, num_samples))
        return self._visits[1]

    def _send(
        self,
        sites: Sequence[Site],
        visits: Visits,
        shown: tuple[Tensor, Tensor | None],
        observed: Tensor,
    ) -> None:
        batch = self._batch
        assert batch is not None
        others = sorted(set(range(len(batch.sample_ids))) - set(visits.samples))
        for site in sites if others else ():
            self._emit(_without_calls(site, batch, others))
        if not visits.samples:
            return
        inputs = visits.by_sample(shown[0])
        gradients = None if shown[1] is None else visits.by_sample(shown[1])
        flags = visits.by_sample(observed.to(inputs.dtype)).squeeze(2) != 0
        for site in sites:
            self._emit(
                SiteSignal(
                    site=site,
                    sample_ids=tuple(batch.sample_ids[s] for s in visits.samples),
                    sample_index=tuple(batch.sample_index[s] for s in visits.samples),
                    observed=flags,
                    calls=(self._linear_call(site, inputs, rows_of(site, gradients)),),
                )
            )

    def _linear_call(
        self, site: Site, inputs: Tensor, gradients: Tensor | None
    ) -> LinearCall:
        outputs = at_inputs = None
        if self._wanted.outputs or self._wanted.input_gradients:
            weight = site_weight(self._model, site).to(inputs.dtype)
            outputs = inputs @ weight.T if self._wanted.outputs else None
            if self._wanted.input_gradients:
                assert gradients is not None
                at_inputs = gradients @ weight
        return LinearCall(
            inputs=inputs,
            output_gradients=gradients,
            outputs=outputs,
            input_gradients=at_inputs,
        )


def _without_calls(site: Site, batch: Batch, samples: Sequence[int]) -> SiteSignal:
    return SiteSignal(
        site=site,
        sample_ids=tuple(batch.sample_ids[sample] for sample in samples),
        sample_index=tuple(batch.sample_index[sample] for sample in samples),
        observed=batch.observed[list(samples)],
        calls=(),
    )
