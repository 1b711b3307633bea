"""The five-frame video denoiser: what it sees, any size, and that it learns."""

import pytest
import torch

from denoisers import DenoiserSettings, build_denoiser, load_denoiser, save_denoiser
from denoisers.video import VideoDenoiser
from noisemodel import InputError, stream


def network(channels: int = 1, width: int = 8, norm: str = "none") -> VideoDenoiser:
    return VideoDenoiser(channels, width, norm, generator=stream(0, "video"))


@pytest.mark.parametrize("size", [(16, 16), (13, 22), (1, 3), (5, 64)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_comes_back_and_the_start_is_near_the_middle_frame(size, channels):
    clip = torch.rand(2, 5, channels, *size, generator=stream(1, "clip"))
    with torch.no_grad():
        out = network(channels)(clip)
    assert out.shape == (2, channels, *size) and bool(torch.isfinite(out).all())
    assert float((out - clip[:, 2]).square().mean()) < float((out - clip[:, 0]).square().mean())


def test_every_frame_counts_and_frames_of_one_clip_only():
    clip = torch.rand(2, 5, 1, 16, 16, generator=stream(1, "clip")).requires_grad_(True)
    (slope,) = torch.autograd.grad(network()(clip)[0].sum(), clip)
    assert bool((slope[0].abs().amax(dim=(1, 2, 3)) > 0).all()) and not slope[1].any()


def test_the_first_stage_is_shared_by_the_three_triples():
    seen = []
    net = network()
    net.first.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    clip = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, 1, 8, 8)
    net(clip)
    ((triples, _),) = seen
    assert triples[:, :, 0, 0, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_it_learns_to_use_the_other_frames():
    net = VideoDenoiser(1, 8, "group", generator=stream(0, "video"))
    steps = torch.optim.Adam(net.parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        draws = stream(0, "train", step)
        clean = torch.rand(8, 1, 1, 8, 8, generator=draws)  # white: neighbours tell nothing, other frames do
        noisy = clean + 0.2 * torch.randn(8, 5, 1, 8, 8, generator=draws)
        loss = (net(noisy) - clean[:, 0]).square().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))
    alone = 0.2**2 / 12 / (0.2**2 + 1 / 12)  # the best linear estimate from the middle frame
    assert sum(losses[-5:]) / 5 < 0.8 * alone


def test_saved_and_loaded_it_is_the_same(tmp_path):
    settings = DenoiserSettings("supervised", "video", 4, "mosaic", frames=5, width=8)
    denoiser = build_denoiser(settings, generator=stream(0, "weights"))
    clip = torch.rand(1, 5, 4, 9, 10, generator=stream(1, "clip"))
    save_denoiser(denoiser, tmp_path)
    assert torch.equal(load_denoiser(tmp_path).denoise(clip), denoiser.denoise(clip))


def test_bad_input_is_answered_in_one_line():
    for clip in (torch.rand(1, 4, 1, 8, 8), torch.rand(1, 5, 3, 8, 8), torch.rand(5, 1, 8, 8)):
        with pytest.raises(InputError, match="the video denoiser takes"):
            network()(clip)
    with pytest.raises(InputError, match="unknown norm"):
        network(norm="layer")
    with pytest.raises(InputError, match="5 frames"):
        settings = DenoiserSettings("supervised", "video", 1, "planes", frames=3)
        build_denoiser(settings, generator=stream(0, "weights"))
