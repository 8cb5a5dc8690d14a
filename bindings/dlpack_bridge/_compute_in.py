"""compute_in: functions that get their arrays in one framework."""

from ._core import _is_array, convert_tree, info


def compute_in(to, /, **keywords):
    """Decorator: array arguments arrive in ``to``, results leave as the first of them came.

    Array arguments, positional or by keyword, also inside dicts, lists and tuples, are converted
    with ``convert(x, to, **keywords)``; everything else passes as it is. Arrays in the result go
    to the framework and device of the first array argument. Without one they stay in ``to``.

    Errors: those of ``convert``.
    """

    def decorate(function):
        import functools

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            first = _first_array((args, kwargs))
            home = None if first is None else _home_of(first)
            args, kwargs = convert_tree((args, kwargs), to, leaves="keep", **keywords)
            result = function(*args, **kwargs)
            if home is None:
                return result
            framework, device = home
            return convert_tree(result, framework, leaves="keep", device=device)

        return wrapper

    return decorate


def _is_dataclass_instance(node):
    return hasattr(type(node), "__dataclass_fields__")


def _first_array(node):
    if _is_array(node):
        return node
    if isinstance(node, dict):
        node = tuple(node.values())
    elif _is_dataclass_instance(node):
        node = tuple(getattr(node, name, None) for name in node.__dataclass_fields__)
    if isinstance(node, (list, tuple)):
        return next((found for found in map(_first_array, node) if found is not None), None)
    return None


def _home_of(array):
    """Framework and device that results go back to; known before the call, which may consume it."""
    seen = info(array)
    framework = seen.framework
    if framework == "other":  # NumPy's scalars are no arrays of NumPy, but NumPy is their home
        framework = "numpy" if type(array).__module__.split(".")[0] == "numpy" else "array"
    device = None if framework == "numpy" or seen.device is None else str(seen.device)
    return framework, device
