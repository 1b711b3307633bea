"""How good a trained NR-GAN is: distances between sets of images, and its noise beside the data's."""
