"""Report of weights loaded into a target."""

import dataclasses
from collections.abc import Mapping, Sequence

from jaxdl.tree import shorten


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of every array that was to be loaded; ``str(report)`` says it in words.

    Attributes:
        loaded: the source's name of every leaf that was loaded, by the leaf's name.
        missing: leaves that the source has no array for, each with an explanation.
        unexpected: arrays that the model has no leaf for, likewise.
        mismatched: leaves whose array has another shape, likewise.
        num_values: how many numbers were loaded.
        left_out: leaves and arrays that were left out as asked.
        prefix: what was taken off PyTorch's names.
        source: what was read.
    """

    loaded: Mapping[str, str]
    missing: Mapping[str, str]
    unexpected: Mapping[str, str]
    mismatched: Mapping[str, str]
    num_values: int
    left_out: Sequence[str] = ()
    prefix: str = ""
    source: str = "state_dict"

    @property
    def fits(self) -> bool:
        """Nothing is missing, unexpected or of another shape."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"loaded {len(self.loaded)} of {total} leaves ({self.num_values:,} numbers)"]
        if self.prefix:
            lines.append(f"prefix {self.prefix!r} taken off PyTorch's names")
        for title, found in (
            (f"missing in the {self.source}", self.missing),
            (f"unexpected in the {self.source}", self.unexpected),
            ("of another shape", self.mismatched),
        ):
            if found:
                listed = [f"{name}: {words}" for name, words in found.items()]
                lines.append(f"{title}, {len(found)}:\n  {shorten(listed, 20)}")
        if self.left_out:
            listed = list(self.left_out)
            lines.append(f"left out as asked, {len(listed)}:\n  {shorten(listed, 20)}")
        return "\n".join(lines)
