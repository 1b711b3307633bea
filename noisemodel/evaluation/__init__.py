"""How well generated noise matches real noise: one metric per file, and the pictures of viewnoise."""
