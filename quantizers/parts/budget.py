"""Which inputs get static scales: as many as a KL budget allows, the harmless ones first, on the model's own text.

KL is measured from the fp32 graph at each token of replies that calibration kept and the statistics have not seen
(ranges fit what they were taken from too well), through the kernels that will serve. Each input is tried alone on the
texts with the longest replies, for the order; how many of them is found by bisection on more; and other texts must
agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration import statistics
from calibration.statistics import Array, OwnText
from core import progress
from core.errors import DataError, QuantizationError
from quantizers.parts.switches import Session, divergence

# Texts, for a model of PARAMETERS at most; a larger one is measured on fewer, so that time grows more slowly.
PARAMETERS = 300e6
ALONE, SEARCH, HELD_OUT = 3, 16, 24
FEWEST = {ALONE: 1, SEARCH: 4, HELD_OUT: 8}


@dataclass(frozen=True)
class Texts:
    """Texts with the fp32 graph's log probabilities at their replies: (tokens, vocabulary) each."""

    texts: Sequence[OwnText]
    reference: Sequence[Array]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> Texts:
        return Texts(self.texts[:count], self.reference[:count])

    def kl(self, session: Session, static: Sequence[str] = ()) -> float:
        """Nats per token of the graph with the inputs `static` switched on."""
        return divergence(self.reference, [session.log_probabilities(text, static) for text in self.texts])


@dataclass(frozen=True)
class Found:
    """The inputs with static scales, the least harmful first, and the KL on texts held out, in nats per token."""

    static: list[str]
    kl_held_out: float


def read(calibration_folder: Path, reference: Session, parameters: int) -> tuple[Texts, Texts]:
    """The texts to search on and those that must agree; raises DataError where calibration kept too few for both."""
    texts = statistics.own_texts(calibration_folder)
    unseen = [text for text in texts if text.held_out]
    search = sorted(unseen[0::2][: _count(SEARCH, parameters)], key=lambda text: -len(text.reply))
    held_out = unseen[1::2][: _count(HELD_OUT, parameters)]
    if not search or not held_out:
        raise DataError(
            f"the model answered {len(texts)} calibration prompts with any text, and a KL budget is measured on "
            "every other one, at least two: raise calibrate.decode_items"
        )
    first, second = ([reference.log_probabilities(text) for text in part] for part in (search, held_out))
    return Texts(search, first), Texts(held_out, second)


def spend(
    session: Session, sites: Sequence[str], search: Texts, held_out: Texts, budget: float, parameters: int
) -> Found:
    """Switch on as many of `sites` as leave the KL within `budget`, on the texts searched and on those held out.

    Raises QuantizationError where it is above with none of them.
    """
    order = _order(session, sites, search.first(_count(ALONE, parameters)))
    order = order[: _most(session, order, search, budget)]
    order = order[: _most(session, order, held_out, budget)]
    if not order:
        floor = max(search.kl(session), held_out.kl(session))
        raise QuantizationError(
            f"no matmul input can have static scales within kl_budget {budget:g}: with 8-bit weights alone the KL is "
            f"{floor:.2g} nats per token; raise it, or use quantizer weight_only"
        )
    return Found(order, held_out.kl(session, order))


def _order(session: Session, sites: Sequence[str], texts: Texts) -> list[str]:
    """`sites`, the one that changes the answers least when it alone is static first."""
    wide = Texts(texts.texts, [session.log_probabilities(text) for text in texts.texts])
    alone = {site: wide.kl(session, [site]) for site in progress.track(sites, "each input alone", unit="input")}
    return sorted(sites, key=lambda site: alone[site])


def _most(session: Session, order: Sequence[str], texts: Texts, budget: float) -> int:
    """How many of `order`, from the first, stay within `budget`; KL is taken to grow with them."""
    if texts.kl(session, order) <= budget:
        return len(order)
    enough, too_many = 0, len(order)
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if texts.kl(session, order[:middle]) <= budget:
            enough = middle
        else:
            too_many = middle
    return enough


def _count(texts: int, parameters: int) -> int:
    return max(FEWEST[texts], round(texts * min(1, PARAMETERS / parameters)))
