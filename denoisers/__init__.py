"""Denoisers: Noise2Noise, NTGAN, and networks trained on synthesised camera noise."""

from denoisers.trained import Denoiser, DenoiserSettings, build_denoiser, load_denoiser, save_denoiser

__all__ = ["Denoiser", "DenoiserSettings", "build_denoiser", "load_denoiser", "save_denoiser"]
