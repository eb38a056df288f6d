"""The exceptions of the package. Each one has the text of the error of the same name in Rust."""


class Error(Exception):
    """Base class of all errors of this package."""


class InvalidName(Error, ValueError):
    """The name of a table is not 1 to 64 of A-Z a-z 0-9 . _ -, or starts with a dot."""


class NotFound(Error):
    """The table does not exist on this machine, or not in this mount of /dev/shm."""


class PublisherActive(Error):
    """Another publisher holds the table."""


class KeyExists(Error):
    """The key of a new row exists already."""


class KeyMissing(Error):
    """`update` or `delete` of a key that does not exist."""


class TableFull(Error):
    """The table has as many rows as its maximum capacity allows."""


class SchemaMismatch(Error):
    """The table has other fields than expected."""


class InvalidSchema(Error, ValueError):
    """The fields or the key of a new table are not possible."""


class InvalidSetting(Error, ValueError):
    """A setting of a publisher is out of range."""


class InvalidValue(Error, ValueError):
    """A value is out of range for its field, or a field is missing or unknown."""


class TextTooLong(Error, ValueError):
    """A text is longer than its field."""


class LayoutMismatch(Error):
    """Another version of Tablecast created the table."""


class Corrupt(Error):
    """The bytes of the table are not those that Tablecast writes."""


class WrongOwner(Error):
    """The table belongs to a user that this program does not trust."""


class PermissionDenied(Error):
    """The permissions of the table do not allow the action."""


class Limit(Error):
    """A limit of the system was reached. The committed table is unchanged."""


class Outrun(Error):
    """The rows changed faster than they could be copied. Try again."""


class TimedOut(Error):
    """The table did not appear within the given time."""


class Lost(Error):
    """Another publisher took the table of this one."""


class System(Error):
    """Any other error of the system."""


class Closed(Error):
    """The reader, subscriber or publisher was closed."""


class Forked(Error):
    """The object was opened in the parent process of this one."""


class TransactionOpen(Error):
    """The publisher has an open transaction already."""


class TransactionEnded(Error):
    """The transaction was committed or discarded."""


for _class in list(globals().values()):
    if isinstance(_class, type):
        _class.__module__ = "tablecast"
