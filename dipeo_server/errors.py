"""Every error a person may meet: one tree, a stable code each, and a way out where there is one."""

from __future__ import annotations

from typing import ClassVar


class DipeoError(Exception):
    """Base of all errors of this package; `code` is for programs, the message for people."""

    code: str = "INTERNAL"
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


class Rejected(DipeoError):
    """A request that cannot be carried out now; nothing was changed by it."""

    code = "INVALID"


class InvalidInput(Rejected):
    """An argument is wrong; `field` is its path in the arguments."""

    code = "INVALID"

    def __init__(self, message: str, *, field: tuple[str, ...] = (), hint: str | None = None):
        super().__init__(message, hint=hint)
        self.field = field


class NotFound(Rejected):
    """There is nothing with that id."""

    code = "NOT_FOUND"


class InvalidState(Rejected):
    """The execution is in a status in which this cannot be done."""

    code = "INVALID_STATE"


class ExecutionFinished(InvalidState):
    """The execution has ended, so it can no longer be changed."""

    default_hint = "Fork it from an earlier sequence instead."


class AlreadyDecided(Rejected):
    """Another decision on this barrier was committed first."""

    code = "ALREADY_DECIDED"


class IdempotencyMismatch(Rejected):
    """The idempotency key was used before with other arguments."""

    code = "IDEMPOTENCY_MISMATCH"
    default_hint = "Use a new key for a new request; keep the key only to repeat the same one."


class LimitExceeded(Rejected):
    """A limit of the server or of the run would be exceeded."""

    code = "LIMIT_EXCEEDED"


class Unavailable(DipeoError):
    """The server cannot serve this now (starting, stopping, or storage is failing)."""

    code = "UNAVAILABLE"


class Unauthenticated(DipeoError):
    """Nobody is known to ask: there is no token, or none that is valid."""

    code = "UNAUTHENTICATED"
    default_hint = (
        "Send a valid token as `Authorization: Bearer …`; `dipeo-server tokens` makes them."
    )


class Forbidden(DipeoError):
    """Whoever asks may not do this."""

    code = "FORBIDDEN"


class RateLimited(DipeoError):
    """It was tried too often; there is room again after `retry_after` seconds."""

    code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class StorageError(DipeoError):
    """The store failed; nothing of the request was committed.

    Unless it `is_lasting` the same may well succeed in a while.
    """

    code = "UNAVAILABLE"
    is_lasting: ClassVar[bool] = False


class StorageFull(StorageError):
    """The disk is full; runs go on when space returns."""

    code = "STORAGE_FULL"
    default_hint = "Free some space on the disk that holds the store."


class StoreLocked(StorageError):
    """Another process has the store open."""

    default_hint = "Stop that process, or give this one another --store."
    is_lasting = True


class DamagedLog(StorageError):
    """The log of an execution is damaged at event `seq`: it is whole before, and never grows."""

    default_hint = "`dipeo-server verify` tells all damage; a backup has what was lost."
    is_lasting = True

    def __init__(
        self, message: str, *, execution_id: str, seq: int, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.execution_id = execution_id
        self.seq = seq


class DamagedCheckpoint(StorageError):
    """A checkpoint is not what was written; the log it was taken of may well be."""

    is_lasting = True


class BlobMissing(StorageError):
    """A large value that the log refers to is not there."""

    default_hint = "`dipeo-server verify` tells all damage; a backup has what was lost."
    is_lasting = True


class BlobDamaged(StorageError):
    """A large value is not what was written."""

    default_hint = "`dipeo-server verify` tells all damage; a backup has what was lost."
    is_lasting = True


class ConcurrentAppend(StorageError):
    """Another writer appended to this execution first; the machine must be rebuilt from the log."""

    is_lasting = True


class NodeError(DipeoError):
    """A node cannot do its work: the NodeRun fails with this code and message."""

    code = "INTERNAL"

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class FileMissing(NodeError):
    """There is no such file below the base directory."""

    code = "FILE_NOT_FOUND"


class PathDenied(NodeError):
    """A path leaves the base directory, or goes through a link that does."""

    code = "PATH_DENIED"
    default_hint = "Paths are relative to the base directory (--base-dir) and may not leave it."


class CodeError(NodeError):
    """User code raised, exited with an error, or gave no usable result."""

    code = "CODE_ERROR"


class NodeTimeout(NodeError):
    """The node did not end within its time limit."""

    code = "TIMEOUT"


class OutputTooLarge(NodeError):
    """An output is larger than the limit."""

    code = "OUTPUT_TOO_LARGE"


class ModelNotConfigured(NodeError):
    """No endpoint is configured for the model service."""

    code = "LLM_NOT_CONFIGURED"
    default_hint = "Set DIPEO_LLM_BASE_URL (or DIPEO_LLM_<SERVICE>_BASE_URL), or use service: echo."


class ModelError(NodeError):
    """The model service refused, failed or answered with something unusable."""

    code = "LLM_ERROR"


class NodeTypeUnavailable(NodeError):
    """This server has no handler for the node's type."""

    code = "NODE_TYPE_UNAVAILABLE"


class SecretMissing(NodeError):
    """A reference names a secret that this server does not have."""

    code = "SECRET_MISSING"


class ProviderNotConfigured(NodeError):
    """The node names an external provider that is not configured here."""

    code = "PROVIDER_NOT_CONFIGURED"
