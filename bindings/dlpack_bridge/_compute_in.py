"""compute_in: functions that get their arrays in one framework."""

# Its stub is that of the package.
from ._core import (  # type: ignore[import-not-found]
    _convert_call,
    _convert_result,
    _is_array,
    info,
)


def compute_in(
    to,
    /,
    *,
    dtype=None,
    device=None,
    copy=None,
    detach=False,
    readonly="copy",
    order=None,
    alignment=None,
    stream=None,
):
    """Decorator: array arguments arrive in ``to``, results leave as the first of them came.

    Array arguments, positional or by keyword, also inside dicts, lists, tuples and dataclasses,
    are converted with ``convert(x, to, ...)`` and these keywords; ``bytes`` are arrays. What holds
    no array passes as it is, and so does the object of a method; what holds one arrives as a copy
    with the converted arrays. Arrays in the result go to the framework and device of the first
    array argument, with the same ``detach``. Without one they stay in ``to``. What must be awaited
    is converted when it was.

    Errors: those of ``convert``; TypeError for a generator function, and without parentheses.
    """
    if callable(to) and not isinstance(to, type):
        raise TypeError('write @compute_in("torch"): compute_in takes the framework to compute in')
    keywords = {
        "dtype": dtype,
        "device": device,
        "copy": copy,
        "detach": detach,
        "readonly": readonly,
        "order": order,
        "alignment": alignment,
        "stream": stream,
    }

    def decorate(function):
        import functools
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError("compute_in converts what a function returns, and a generator yields")

        def bring(args, kwargs):
            own = args[:1] if _is_method_of(args, wrapper) else ()
            args = args[len(own) :]
            first = _first_array((args, kwargs))
            home = None if first is None else _home_of(first)
            args, kwargs = _convert_call((args, kwargs), to, leaves="keep", **keywords)
            return home, own + args, kwargs

        def send_back(result, home):
            if home is None:
                return result
            if inspect.isawaitable(result):
                return send_back_later(result, home)
            framework, device = home
            return _convert_result(result, framework, leaves="keep", device=device, detach=detach)

        async def send_back_later(result, home):
            return send_back(await result, home)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args, **kwargs):
                home, args, kwargs = bring(args, kwargs)
                return send_back(await function(*args, **kwargs), home)

        else:

            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                home, args, kwargs = bring(args, kwargs)
                return send_back(function(*args, **kwargs), home)

        return wrapper

    return decorate


def _is_method_of(args, wrapper):
    """Whether the first argument is the object whose method the wrapper is."""
    name = wrapper.__name__
    return bool(args) and any(vars(base).get(name) is wrapper for base in type(args[0]).__mro__)


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
