"""The processes of one run: each has a number, and all of them end after the same event."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from pclora_lab.json_files import parse_json, to_json
from pclora_lab.wording import first_line

__all__ = ["ALONE", "ProcessLost", "Ranks", "StoppedElsewhere"]

# Nobody pauses a run for longer; a process that dies is noticed at once, by its connections.
PATIENCE = timedelta(days=7)
# Whoever fails does not wait for others that may hang.
_FAREWELL = timedelta(seconds=10)


EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")
_WAITING = "waiting"


class StoppedElsewhere(KeyboardInterrupt):
    """Another process of the run was stopped: this one ends after the same event."""


class ProcessLost(RuntimeError):
    """Another process of the run has failed, or is gone."""


class _Word(IntEnum):
    GO = 0
    STOP = 1
    FAILED = 2


@dataclass(frozen=True)
class Ranks:
    """The place of this process in a run.

    All that is said between processes goes over a group on the CPU, so that no GPU is waited for;
    nothing that is unpickled is ever sent.

    Attributes:
        number: from 0, which writes whatever is written.
        count: processes of the run.
        control: what they agree over; None where there is one process.
        data: what adds their gradients up.

    Example:
        >>> ranks = Ranks()
        >>> ranks.is_main, ranks.gathered("a"), ranks.by_main(lambda: "b")
        (True, ['a'], 'b')
    """

    number: int = 0
    count: int = 1
    control: Any = None
    data: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes run folder, teacher, checkpoints and trackers."""
        return self.number == 0

    def in_step(
        self, events: Generator[EventT, None, None], end: type
    ) -> Generator[EventT, None, None]:
        """Pass events on; whoever is closed, or fails, ends all processes after the same event.

        Args:
            events: of the run, the same ones in every process.
            end: what the last event is. The others hand it on once the first has let go of it: then
                the result is written.

        Raises:
            StoppedElsewhere: another process was closed or interrupted.
            ProcessLost: another process has failed.
        """
        if self.count == 1:
            yield from events
            return
        with contextlib.closing(events):
            last = yield from self._until(end, events)
            if not self.is_main:
                self.meet()
            try:
                yield last
            finally:
                if self.is_main:
                    self._say(_Word.GO)

    def _until(self, end: type, events: Iterator[EventT]) -> Generator[EventT, None, EventT]:
        try:
            for event in events:
                if isinstance(event, end):
                    return event
                yield event
                self.meet()
        except (StoppedElsewhere, ProcessLost):
            raise  # all know
        except (GeneratorExit, KeyboardInterrupt):
            self._say(_Word.STOP)
            raise
        except BaseException:
            self._say(_Word.FAILED)
            raise
        raise RuntimeError("the run ended without a result")

    def _say(self, word: _Word) -> None:
        # Nothing that is heard now changes how this process ends.
        with contextlib.suppress(StoppedElsewhere, ProcessLost):
            self._exchange(word, "", _FAREWELL)

    def meet(self) -> None:
        """Wait for all processes.

        Raises:
            StoppedElsewhere: one of them was stopped.
            ProcessLost: one of them has failed, or is gone.
        """
        self._exchange(_Word.GO, "", PATIENCE)

    def gathered(self, text: str) -> list[str]:
        """A text of every process, in order; raises as :meth:`meet`."""
        return self._exchange(_Word.GO, text, PATIENCE)

    def _exchange(self, word: int, text: str, wait: timedelta) -> list[str]:
        """What all of them say; words go first, so that whoever ends is heard wherever it is."""
        if self.count == 1:
            return [text]
        own = torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")
        heads = self._each(torch.tensor([word, len(own)], device="cpu"), wait)
        words, sizes = zip(*(head.tolist() for head in heads), strict=True)
        self._raise_worst(words)
        if not (longest := max(sizes)):
            return [""] * self.count
        room = torch.zeros(longest, dtype=torch.uint8, device="cpu")
        room[: len(own)] = own
        found = zip(self._each(room, wait), sizes, strict=True)
        return [bytes(part[:size].tolist()).decode() for part, size in found]

    def _each(self, own: Tensor, wait: timedelta) -> list[Tensor]:
        found = [torch.empty_like(own) for _ in range(self.count)]
        with lost_explained():
            distributed.all_gather(found, own, group=self.control, async_op=True).wait(wait)
        return found

    def _raise_worst(self, words: Sequence[int]) -> None:
        who = f"process {words.index(max(words))} of {self.count}"
        if max(words) == _Word.STOP:
            raise StoppedElsewhere(f"{who} was stopped")
        if max(words) == _Word.FAILED:
            raise ProcessLost(
                f"{who} has failed (its own message says why), and this one ends with it"
            )

    def while_main(
        self, work: Generator[EventT, None, ResultT], waiting: EventT
    ) -> Generator[EventT, None, ResultT]:
        """What the first process looks for alone; the others wait with it, event by event.

        Args:
            work: done by the first process; its result must be plain types.
            waiting: what the others yield whenever it yields.
        """
        if self.count == 1:
            return (yield from work)
        if not self.is_main:
            while (said := self._heard_from_main()) == _WAITING:
                yield waiting
            return said
        with contextlib.closing(work):
            while True:
                try:
                    event = next(work)
                except StopIteration as over:
                    self.gathered(to_json(over.value))
                    return over.value
                self.gathered(to_json(_WAITING))
                yield event

    def _heard_from_main(self) -> Any:
        return parse_json(self.gathered("")[0], "what process 0 says")

    def by_main(self, make: Callable[[], str]) -> str:
        """What the first process does alone while the others wait, and tells them.

        Raises:
            ProcessLost: it failed there.
        """
        if not self.is_main:
            return self.gathered("")[0]
        try:
            made = make()
        except BaseException:
            self._say(_Word.FAILED)
            raise
        self.gathered(made)
        return made


ALONE = Ranks()


@contextmanager
def lost_explained() -> Iterator[None]:
    """Say what it means where torch finds no connection any more."""
    try:
        yield
    except RuntimeError as error:
        # gloo says before it where in its source, and behind it what that may mean.
        reason = first_line(error).rpartition("] ")[2].partition(". ")[0]
        raise ProcessLost(
            f"another process of this run is gone ({reason}): what it said stands "
            "above. `pclora-lab resume` under the same launcher goes on from the last "
            "checkpoint"
        ) from error
