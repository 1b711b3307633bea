"""Which GPUs train, and which of several processes this one is."""

import os

import torch

from noisemodel.errors import InputError


def choose_devices(device: str, gpus: int | None, nodes: int, nr: int, batch_size: int) -> list[int]:
    """Numbers of this machine's GPUs to use, none for the CPU.

    Args:
        device: auto, cpu, cuda or cuda:N.
        gpus: how many of each machine; None is what ``device`` says, or one, if there is one.
        nodes, nr: machines that train together, and the number of this one; NODE_RANK is set for Lightning.
        batch_size: of all processes together.
    Raises: InputError where what is asked for is not there, or contradicts itself.
    """
    visible = torch.cuda.device_count()
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and (kind != "cuda" or not index.isdigit())):
        raise InputError(f"--device is auto, cpu, cuda or cuda:N, got {device!r}")
    wanted = gpus if gpus is not None else {"cpu": 0, "cuda": 1}.get(kind, min(visible, 1))
    if wanted < 0 or not 0 <= nr < nodes:
        raise InputError(f"need --gpus >= 0 and 0 <= --nr < --nodes, got {wanted}, {nr}, {nodes}")
    if kind == "cpu" and wanted:
        raise InputError(f"--device cpu and --gpus {wanted} contradict each other; leave one out")
    if kind == "cuda" and not wanted:
        raise InputError("--device cuda and --gpus 0 contradict each other; leave one out")
    if index and wanted > 1:
        raise InputError(f"--device {device} is one GPU, --gpus {wanted} are more; leave one out")
    if wanted > visible or (index and int(index) >= visible):
        raise InputError(f"{wanted} GPU(s) wanted ({device}), {visible} visible; use --gpus 0 for the CPU")
    if nodes > 1:
        if "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ:
            raise InputError("--nodes needs the variables MASTER_ADDR and MASTER_PORT: address and a port of machine 0")
        os.environ["NODE_RANK"] = str(nr)
    check_share(batch_size, max(wanted, 1), nodes)
    return [int(index)] if index else list(range(wanted))


def check_share(batch_size: int, devices: int, nodes: int) -> int:
    """How many processes share a batch; raises InputError where they cannot."""
    world = devices * nodes
    if batch_size % world:
        raise InputError(f"--batch_size {batch_size} must be a multiple of the {world} processes")
    return world


def is_first_process(nr: int) -> bool:
    """Whether this process, on machine ``nr``, is the one that writes and prints."""
    return nr == 0 and int(os.environ.get("LOCAL_RANK", 0)) == 0
