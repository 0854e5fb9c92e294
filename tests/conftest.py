import lpn_mmpose  # noqa: F401  mends MMPose before any test imports it
