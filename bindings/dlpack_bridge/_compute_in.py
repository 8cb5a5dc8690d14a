"""Whole structures of arrays at once: convert_tree and compute_in."""

from ._core import NotAnArrayError, _check_arguments, _is_array, convert, info

_MISSING = object()


def convert_tree(tree, to, /, *, leaves="refuse", **keywords):
    """Convert every array in a structure of dicts, lists, tuples, namedtuples and dataclasses.

    The structure is rebuilt with the same types; the arrays go the road of ``convert(x, to,
    **keywords)``. Other leaves are refused with NotAnArrayError, which names their place, unless
    ``leaves="keep"``. Ownership, streams and the GIL are those of ``convert``.

    Errors: those of ``convert``; ValueError for another value of ``leaves``.
    """
    if leaves not in ("refuse", "keep"):
        raise ValueError(f'leaves is "refuse" or "keep", got {leaves!r}')
    _check_arguments(to, **keywords)
    return _convert_node(tree, to, keywords, leaves == "keep", "tree")


def _convert_node(node, to, keywords, keep, path):
    def child(value, step):
        return _convert_node(value, to, keywords, keep, path + step)

    if isinstance(node, dict):
        return _same_dict(node, {key: child(value, f"[{key!r}]") for key, value in node.items()})
    if isinstance(node, tuple) and hasattr(type(node), "_fields"):
        values = (child(getattr(node, field), f".{field}") for field in node._fields)
        return type(node)._make(values)
    if isinstance(node, (list, tuple)) and not _is_array(node):
        return _same_sequence(node, [child(value, f"[{i}]") for i, value in enumerate(node)])
    if _is_dataclass_instance(node) and not _is_array(node):
        return _same_dataclass(node, child)
    if keep and not _is_array(node):
        return node
    if not _is_array(node):
        raise NotAnArrayError(
            f"{path} is no array but {type(node).__name__}; "
            'pass leaves="keep" to leave such leaves as they are'
        )
    return convert(node, to, **keywords)


def _same_dict(node, values):
    if type(node) is dict:
        return values
    import copy

    made = copy.copy(node)  # keeps what a subclass carries, such as a default factory
    made.update(values)
    return made


def _same_sequence(node, values):
    if type(node) is list:
        return values
    if isinstance(node, tuple):
        return type(node)(values)
    import copy

    made = copy.copy(node)  # keeps what a subclass carries
    made[:] = values
    return made


def _is_dataclass_instance(node):
    return hasattr(type(node), "__dataclass_fields__")


def _same_dataclass(node, child):
    import copy
    import dataclasses

    made = copy.copy(node)
    for field in dataclasses.fields(node):
        value = getattr(node, field.name, _MISSING)
        if value is not _MISSING:
            object.__setattr__(made, field.name, child(value, f".{field.name}"))
    return made


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
