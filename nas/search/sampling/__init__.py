"""Which network is trained next: proposals, limits and samplers."""
