"""Arrays and tables of other packages, each of which is imported when it is needed."""

import importlib


def _import(package):
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        text = f"{package} is not installed, and this function returns its objects: pip install {package}"
        raise ModuleNotFoundError(text, name=package) from None


def numpy():
    """Returns the module numpy."""
    return _import("numpy")


def to_pandas(rows):
    """Returns a DataFrame. Texts and addresses are the objects that dicts have."""
    pandas = _import("pandas")
    return pandas.DataFrame(dict(_columns(rows)), copy=False)


def to_arrow(rows):
    """Returns a Table. Texts and addresses are strings."""
    pyarrow = _import("pyarrow")

    def column(values):
        if isinstance(values, list):
            return pyarrow.array([str(value) for value in values], pyarrow.string())
        return pyarrow.array(values)

    return pyarrow.table({name: column(values) for name, values in _columns(rows)})


def _columns(rows):
    """Yields the name of each field and its values: a numpy array of numbers, or a list."""
    array = rows.array()
    for index, (name, kind) in enumerate(rows.fields):
        is_object = kind.startswith("text") or kind in ("ipv4", "ipv6", "ipnet", "mac")
        yield name, rows.column(index) if is_object else numpy().ascontiguousarray(array[name])
