"""What measures and studies `mrfa` from a checkout, beside the package and not in its wheel.

`python -m benchmarks.synthesize`, `.known_motion` and `.study` run from the checkout's folder, with `--help`.
"""
