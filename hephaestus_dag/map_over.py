"""How a step runs a function over shards, without knowing where."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol


class MapOver(Protocol):
    """Runs a picklable function over items, on one machine or many, and gives the results in order."""

    def __call__(
        self,
        function: Callable[..., Any],
        items: Sequence[Any],
        progress: Callable[[int, int], None] | None = None,
        *,
        setup: Callable[[], Any] | None = None,
    ) -> Iterator[Any]:
        """Yield ``function(item)``, or with a setup ``function(setup(), item)``, for every item.

        ``setup`` is called once by each worker; ``progress`` gets (items done, of how many).
        """
        ...


def in_order(
    function: Callable[..., Any],
    items: Sequence[Any],
    progress: Callable[[int, int], None] | None = None,
    *,
    setup: Callable[[], Any] | None = None,
) -> Iterator[Any]:
    """Run the function in this process, one item after the other."""
    given = [setup()] if setup and items else []
    for done, item in enumerate(items, 1):
        yield function(*given, item)
        if progress:
            progress(done, len(items))
