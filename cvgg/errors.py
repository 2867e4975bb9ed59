"""What cvgg raises when the user's input or the machine is at fault, and the exit code of each
kind.

A message is one line: where, the rule, the values, then what to do. The command line prints it
without a traceback. The codes are those of sysexits.h where it has one."""


class Error(Exception):
    """Any fault that is not a defect of cvgg. `exit_code` is what the command line returns."""

    exit_code = 65


class DataError(Error):
    """Bad data: a prototxt, model, database, list or image that breaks a rule (EX_DATAERR)."""


class PrototxtError(DataError):
    """A prototxt that cannot be read, at FILE:LINE:COLUMN."""


class GraphError(DataError):
    """Names that do not connect: unknown bottom, top made twice, cycle, wrong count."""


class LayerError(DataError):
    """A layer's settings or shapes break a rule.

    Raised inside a layer as LayerError(rule, field="kernel_size"); layers.infer puts file, line and
    layer name in front."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ShapeError(LayerError):
    """Shapes that do not fit each other."""


class UsageError(Error):
    """Wrong words on the command line, or a wrong call of the API."""

    exit_code = 2


class TrainingError(Error):
    """Training or evaluation failed: a loss that is not finite, an engine's fault."""

    exit_code = 1


class MissingInputError(Error):
    """An input file or database is not there (EX_NOINPUT)."""

    exit_code = 66


class UnavailableError(Error):
    """A device or service is not there: no GPU, no MPI (EX_UNAVAILABLE)."""

    exit_code = 69


class OutOfMemoryError(UnavailableError):
    """A device has no room for `asked` bytes; `free` are there."""

    def __init__(self, asked: int, free: int) -> None:
        super().__init__(f"{asked:,} bytes asked for, {free:,} free")
        self.asked, self.free = asked, free


class CannotCreateError(Error):
    """An output cannot be made: it exists, or there is no room (EX_CANTCREAT)."""

    exit_code = 73


class InputOutputError(Error):
    """Reading or writing failed half-way (EX_IOERR)."""

    exit_code = 74


class TryAgainError(Error):
    """Stopped by something that passes: resume from the last snapshot (EX_TEMPFAIL)."""

    exit_code = 75
