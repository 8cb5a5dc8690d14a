"""The benchmarks of docs/performance.md: ``python -m dlpack_bridge bench``."""
