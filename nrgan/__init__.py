"""NR-GAN: a clean-image generator and a noise generator, learned together from noisy images alone.

Kaneko & Harada, "Noise Robust Generative Adversarial Networks", CVPR 2020, and the physical noise model in their frame.
"""
