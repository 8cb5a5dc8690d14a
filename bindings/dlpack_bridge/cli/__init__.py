"""The tools behind ``python -m dlpack_bridge`` that say what is here: doctor, matrix, demo."""
