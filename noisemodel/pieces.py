"""A burst in cache-sized pieces, each with a random stream of its own, drawn on several threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import torch
from torch import Tensor

PIECE = 2**18  # values per draw on CPU: a frame-sized piece stays in cache while the terms are added
Piece = tuple[slice, slice]  # samples and frames of a burst


def pieces(burst: Tensor, generator: torch.Generator) -> list[tuple[Piece, torch.Generator]]:
    """Pieces (samples, frames) of a burst, each with its stream: cache-sized on CPU, all at once on an accelerator.

    The pieces' streams are seeded from ``generator``, so that the draw does not depend on the number of threads.
    """
    n, t = burst.shape[:2]
    frames = max(1, PIECE // max(1, burst[0, 0].numel()))
    if burst.device.type != "cpu" or frames >= n * t:
        return [((slice(0, n), slice(0, t)), generator)]
    if frames >= t:
        step = frames // t
        places = [(slice(i, min(i + step, n)), slice(0, t)) for i in range(0, n, step)]
    else:
        places = [(slice(i, i + 1), slice(j, min(j + frames, t))) for i in range(n) for j in range(0, t, frames)]
    seeds = torch.randint(2**62, (len(places),), generator=generator).tolist()
    return [(place, torch.Generator().manual_seed(seed)) for place, seed in zip(places, seeds, strict=True)]


def each_in_threads(
    fill: Callable[[Piece, torch.Generator], None], places: list[tuple[Piece, torch.Generator]]
) -> None:
    """Fill every piece; torch draws random numbers on one thread, so pieces go to as many threads as torch may use."""
    if len(places) == 1:
        fill(*places[0])
        return
    threads = _thread_pool(os.getpid(), torch.get_num_threads())
    for done in [threads.submit(fill, *piece) for piece in places]:
        done.result()


@cache
def _thread_pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool per process (a forked child has no threads of its parent) and thread count.

    Each of its threads computes alone: pieces already fill the cores, and teams within teams wait for each other. torch
    keeps the count of a thread's team per thread, and a default for threads to come, which is put back.
    """
    pool = ThreadPoolExecutor(threads, f"noise-{process}", initializer=torch.set_num_threads, initargs=(1,))
    all_started = Barrier(threads)
    for started in [pool.submit(all_started.wait) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(threads)
    return pool
