"""Every error of the package: its openEO code, HTTP status and message; imports nothing of the package.

Each class is also the builtin a Python caller would expect, so `except ValueError` works as
well as `except BandMismatchError`. Messages say what was given and what was expected.
"""

from __future__ import annotations


class OpenEONCError(Exception):
    """Base of all errors; `code` and `http_status` are what an openEO client sees."""

    code: str = "Internal"
    http_status: int = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:  # KeyError would show the repr
        return self.message


# --- parameters and processes ---------------------------------------------------------------


class InvalidParameterError(OpenEONCError, ValueError):
    """A parameter has a value that its process does not accept."""

    code, http_status = "ProcessParameterInvalid", 400


class MissingParameterError(OpenEONCError, ValueError):
    """A required parameter was not given."""

    code, http_status = "ProcessParameterRequired", 400


class ProcessUnsupportedError(OpenEONCError, LookupError):
    """The process graph names a process that is not registered."""

    code, http_status = "ProcessUnsupported", 400


class ProcessGraphInvalidError(OpenEONCError, ValueError):
    """The process graph is not one: no result node, a cycle, a dangling reference."""

    code, http_status = "ProcessGraphInvalid", 400


class DefinitionMismatchError(OpenEONCError, TypeError):
    """A process function and its JSON definition disagree; raised when the package is wrong."""

    code, http_status = "Internal", 500


class ProcessFailedError(OpenEONCError, RuntimeError):
    """A process of another package raised; its exception is the cause, and names the code."""

    @classmethod
    def of(cls, cause: Exception, place: str = "") -> ProcessFailedError:
        """The error for an exception; openEO's own exceptions are named as their codes."""
        error = cls(f"{place}{type(cause).__name__}: {cause}")
        if type(cause).__module__.startswith("openeo_processes_dask."):
            error.code, error.http_status = type(cause).__name__, 400
        return error


# --- exceptions that openEO's process definitions name -------------------------------------------


class MinMaxSwappedError(OpenEONCError, ValueError):
    """The minimum value is greater than the maximum value."""

    code, http_status = "MinMaxSwapped", 400


class QuantilesParameterMissingError(OpenEONCError, ValueError):
    """quantiles is given neither probabilities nor q."""

    code, http_status = "QuantilesParameterMissing", 400


class QuantilesParameterConflictError(OpenEONCError, ValueError):
    """quantiles is given both probabilities and q."""

    code, http_status = "QuantilesParameterConflict", 400


class AscendingProbabilitiesRequiredError(OpenEONCError, ValueError):
    """The probabilities of quantiles are not in ascending order."""

    code, http_status = "AscendingProbabilitiesRequired", 400


class ArrayElementNotAvailableError(OpenEONCError, LookupError):
    """The array has no element with the index or label."""

    code, http_status = "ArrayElementNotAvailable", 400


class ArrayElementParameterMissingError(OpenEONCError, ValueError):
    """array_element is given neither an index nor a label."""

    code, http_status = "ArrayElementParameterMissing", 400


class ArrayElementParameterConflictError(OpenEONCError, ValueError):
    """array_element is given both an index and a label."""

    code, http_status = "ArrayElementParameterConflict", 400


class ArrayNotLabeledError(OpenEONCError, ValueError):
    """A label is given for an array that has none."""

    code, http_status = "ArrayNotLabeled", 400


class ArrayLabelConflictError(OpenEONCError, ValueError):
    """Two arrays to be joined have a label in common."""

    code, http_status = "ArrayLabelConflict", 400


class ArrayLengthMismatchError(OpenEONCError, ValueError):
    """There are more or fewer labels than values."""

    code, http_status = "ArrayLengthMismatch", 400


class LabelExistsError(OpenEONCError, ValueError):
    """The label to be added, or renamed to, is there already."""

    code, http_status = "LabelExists", 400


class LabelNotAvailableError(OpenEONCError, LookupError):
    """A dimension has no such label."""

    code, http_status = "LabelNotAvailable", 400


class LabelMismatchError(OpenEONCError, ValueError):
    """There are more or fewer source labels than target labels."""

    code, http_status = "LabelMismatch", 400


class LabelsNotEnumeratedError(OpenEONCError, ValueError):
    """Labels are renamed by their positions, and are not 0, 1, 2 ..."""

    code, http_status = "LabelsNotEnumerated", 400


class DistinctDimensionLabelsRequiredError(OpenEONCError, ValueError):
    """Labels of a dimension occur more than once."""

    code, http_status = "DistinctDimensionLabelsRequired", 400


class DimensionNotAvailableError(OpenEONCError, ValueError):
    """A dimension with the specified name, or of the type that is needed, does not exist."""

    code, http_status = "DimensionNotAvailable", 400


class DimensionExistsError(OpenEONCError, ValueError):
    """A dimension with the specified name already exists."""

    code, http_status = "DimensionExists", 400


class TooManyDimensionsError(OpenEONCError, ValueError):
    """The cube has several dimensions of a type, and none is named."""

    code, http_status = "TooManyDimensions", 400


class BandFilterParameterMissingError(OpenEONCError, ValueError):
    """filter_bands is given no criterion."""

    code, http_status = "BandFilterParameterMissing", 400


class IncompatibleDataCubesError(OpenEONCError, ValueError):
    """Two cubes differ in dimensions or labels that must agree."""

    code, http_status = "IncompatibleDataCubes", 400


class OverlapResolverMissingError(OpenEONCError, ValueError):
    """Cubes overlap, and nothing says which values count."""

    code, http_status = "OverlapResolverMissing", 400


class DataCubePropertiesImmutableError(OpenEONCError, ValueError):
    """A process changed the shape of the neighbourhood that it was given."""

    code, http_status = "DataCubePropertiesImmutable", 400


class GeometryInvalidError(OpenEONCError, ValueError):
    """The argument is no GeoJSON, or holds no geometry of the type that is needed."""

    code, http_status = "GeometryInvalid", 400


class FormatUnsupportedError(OpenEONCError, ValueError):
    """save_result was asked for a format, or an option of it, that is not offered."""

    code, http_status = "FormatUnsupported", 400


class FormatUnsuitableError(OpenEONCError, ValueError):
    """The format exists but cannot hold this cube."""

    code, http_status = "FormatUnsuitable", 400


class PlanTooLargeError(OpenEONCError, ValueError):
    """What a process graph needs does not fit: too many tasks, or more memory than workers have."""

    code, http_status = "PlanTooLarge", 400


class OutputExistsError(OpenEONCError, FileExistsError):
    """The output folder exists; nothing in it was touched."""

    code, http_status = "OutputExists", 409


class ResourceMissingError(OpenEONCError, FileNotFoundError):
    """A folder that belongs to the package is not there: the installation is incomplete."""

    code, http_status = "Internal", 500


class SchedulerUnreachableError(OpenEONCError, ConnectionError):
    """No Dask scheduler answers at the address that was given."""

    code, http_status = "SchedulerUnreachable", 503


class ResourceUnavailableError(OpenEONCError, RuntimeError):
    """No worker of the cluster has what networks are demanded to run on."""

    code, http_status = "ResourceUnavailable", 503


class DeviceUnavailableError(OpenEONCError, RuntimeError):
    """A device is asked for that this machine does not have."""

    code, http_status = "DeviceUnavailable", 503


class DeviceMemoryError(OpenEONCError, MemoryError):
    """The memory of a device does not hold a network on a single tile."""

    code, http_status = "DeviceMemory", 500


# --- cubes -----------------------------------------------------------------------------------


class DimensionMissingError(OpenEONCError, ValueError):
    """A dimension that the process needs is not in the cube."""

    code, http_status = "DimensionMissing", 400


class CRSMissingError(OpenEONCError, ValueError):
    """The cube does not say in which coordinate reference system its x and y are."""

    code, http_status = "CRSMissing", 400


class BandMismatchError(OpenEONCError, ValueError):
    """The cube's bands are not those that the codec takes, or are in another order."""

    code, http_status = "BandMismatch", 400


class GridMismatchError(OpenEONCError, ValueError):
    """Coordinates are irregular, or do not lie on the grid that the operation needs."""

    code, http_status = "GridMismatch", 400


class NoDataAvailableError(OpenEONCError, ValueError):
    """The extent is empty or no item matches."""

    code, http_status = "NoDataAvailable", 400


class TemporalExtentEmptyError(OpenEONCError, ValueError):
    """A temporal interval ends before, or as, it begins."""

    code, http_status = "TemporalExtentEmpty", 400


class InvalidValuesError(OpenEONCError, ValueError):
    """Values that cannot be coded: infinite ones."""

    code, http_status = "InvalidValues", 400


class DataTypeUnsupportedError(OpenEONCError, TypeError):
    """The array has a dtype that the codec does not take."""

    code, http_status = "DataTypeUnsupported", 400


class AssetMissingError(OpenEONCError, LookupError):
    """A STAC item lacks an asset, or the asset cannot be read."""

    code, http_status = "AssetMissing", 404


class CollectionNotFoundError(OpenEONCError, LookupError):
    """No configured catalogue has the collection."""

    code, http_status = "CollectionNotFound", 404


# --- codecs, weights, payloads ----------------------------------------------------------------


class MlModelUnsuitableError(OpenEONCError, ValueError):
    """A model cannot say what it is asked, or was trained on other data than it is given."""

    code, http_status = "MlModelUnsuitable", 400


class CodecNotFoundError(OpenEONCError, LookupError):
    """No codec (or embedding model) of that id is registered."""

    code, http_status = "CodecNotFound", 404


class CardInvalidError(OpenEONCError, ValueError):
    """A codec card does not have the fields or values that the contract asks for."""

    code, http_status = "CodecCardInvalid", 500


class WeightsNotFoundError(OpenEONCError, FileNotFoundError):
    """The weights that a codec or a store needs are not at hand."""

    code, http_status = "WeightsNotFound", 424


class WeightsInvalidError(OpenEONCError, ValueError):
    """Weights with the wrong hash, or whose integer sums could leave the exact range."""

    code, http_status = "WeightsInvalid", 500


class ModelUnavailableError(OpenEONCError, ImportError):
    """A model needs a library that is not installed, or that does not know it."""

    code, http_status = "ModelUnavailable", 501


class PayloadError(OpenEONCError, ValueError):
    """A payload is not one that the codec wrote: truncated, changed, or not a payload at all."""

    code, http_status = "PayloadCorrupt", 422


class PayloadVersionError(PayloadError):
    """The payload's bitstream version is one that this release does not read."""

    code, http_status = "PayloadVersionUnsupported", 422


class PayloadModelError(PayloadError):
    """The payload was written by another codec, or by other weights of the same codec."""

    code, http_status = "PayloadModelMismatch", 422


class PartialWriteError(OpenEONCError, ValueError):
    """A write that covers part of a coded tile; it would damage the tile's other pixels."""

    code, http_status = "PartialWrite", 400


# --- embeddings --------------------------------------------------------------------------------


class EmbeddingNotDecodableError(OpenEONCError, ValueError):
    """The cube is no embedding, or its model has no decoder."""

    code, http_status = "EmbeddingNotDecodable", 400


class EmbeddingsIncomparableError(OpenEONCError, ValueError):
    """Vectors of different models were to be compared, which have nothing to do with each other."""

    code, http_status = "EmbeddingsIncomparable", 400


class EmbeddingChangedError(OpenEONCError, ValueError):
    """The embedding's values left the quantiser's lattice: arithmetic changed them."""

    code, http_status = "EmbeddingChanged", 400


class EmbeddingMisalignedError(OpenEONCError, ValueError):
    """The embedding was cropped or resampled off the grid of whole tiles."""

    code, http_status = "EmbeddingMisaligned", 400


# --- code of users -------------------------------------------------------------------------------


class UDFFailedError(OpenEONCError, RuntimeError):
    """Code of a user raised, ended its process, or gave something that is no result."""

    code, http_status = "UDFFailed", 400


class UDFMemoryError(UDFFailedError, MemoryError):
    """Code of a user wanted more memory than it may have."""

    code, http_status = "UDFMemoryExceeded", 400


class UDFTimeError(UDFFailedError, TimeoutError):
    """Code of a user took longer for one chunk than it may."""

    code, http_status = "UDFTimeExceeded", 400


class UDFReplyError(UDFFailedError, ValueError):
    """The process that ran a user's code sent too much, or no message of ours."""

    code, http_status = "UDFReplyInvalid", 400


class UDFSandboxError(OpenEONCError, RuntimeError):
    """Code of users cannot be run on this machine, or not as isolated as the server asks."""

    code, http_status = "UDFUnavailable", 503


class UDFRuntimeError(OpenEONCError, ValueError):
    """There is no such runtime for code of users."""

    code, http_status = "InvalidRuntime", 400


class UDFVersionError(OpenEONCError, ValueError):
    """There is no such version of the runtime."""

    code, http_status = "InvalidVersion", 400


class UDFDependencyError(OpenEONCError, ImportError):
    """Code of a user names a library that is not installed in the version that it asks for."""

    code, http_status = "UDFDependencyMissing", 400


class UDFSourceError(OpenEONCError, ValueError):
    """The code of a user is neither given nor found where it is said to be."""

    code, http_status = "UDFSourceInvalid", 400


class AddressRefusedError(OpenEONCError, RuntimeError):
    """A URL leads to an address that the server does not fetch from for its users."""

    code, http_status = "AddressRefused", 400


# --- jobs ----------------------------------------------------------------------------------------


class JobNotFoundError(OpenEONCError, LookupError):
    """The user has no job of that id; whether another user has is not told."""

    code, http_status = "JobNotFound", 404


class JobLockedError(OpenEONCError, RuntimeError):
    """The job is queued or running, so it cannot be changed."""

    code, http_status = "JobLocked", 400


class JobNotFinishedError(OpenEONCError, RuntimeError):
    """The job has no results yet."""

    code, http_status = "JobNotFinished", 400


class JobFailedError(OpenEONCError, RuntimeError):
    """The job ended in an error; the code and the message are those of that error."""

    http_status = 424

    def __init__(self, message: str, code: str = "Internal") -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[JobFailedError], tuple[str, str]]:
        return type(self), (self.message, self.code)


class JobLimitError(OpenEONCError, RuntimeError):
    """The user has as many jobs as one may have."""

    code, http_status = "JobLimitExceeded", 429


class BudgetError(OpenEONCError, ValueError):
    """A job would cost more than its budget."""

    code, http_status = "BudgetInvalid", 400


class BillingPlanError(OpenEONCError, ValueError):
    """There is no such billing plan."""

    code, http_status = "BillingPlanInvalid", 400


class EstimateComplexityError(OpenEONCError, RuntimeError):
    """A process graph cannot be planned: its size is known only once it runs."""

    code, http_status = "EstimateComplexity", 500


class JobTimeError(OpenEONCError, TimeoutError):
    """The job ran for longer than jobs may."""

    code, http_status = "JobTimeExceeded", 400


class JobLostError(OpenEONCError, RuntimeError):
    """All attempts at a job lost their runner, or the cluster that they ran on."""

    code, http_status = "JobLost", 500


class ClusterLostError(OpenEONCError, ConnectionError):
    """The scheduler was lost, or forgot the tasks of a job; another attempt may succeed."""

    code, http_status = "ClusterLost", 503


class PoisonTaskError(OpenEONCError, RuntimeError):
    """A task of a job ended each worker that it was given to."""

    code, http_status = "WorkerLost", 500


class NoDataForUpdateError(OpenEONCError, ValueError):
    """A change of a job or process changes nothing that can be changed."""

    code, http_status = "NoDataForUpdate", 400


class ProcessGraphMissingError(OpenEONCError, ValueError):
    """A job or a user's process comes without a process graph."""

    code, http_status = "ProcessGraphMissing", 400


class ProcessGraphNotFoundError(OpenEONCError, LookupError):
    """The user has no process of that id."""

    code, http_status = "ProcessGraphNotFound", 404


class DatabaseBusyError(OpenEONCError, TimeoutError):
    """The database of jobs was held by another process for too long."""

    code, http_status = "InfrastructureBusy", 503


class StorageUnavailableError(OpenEONCError, ConnectionError):
    """Object storage does not answer, or answers with errors of its own, time after time."""

    code, http_status = "StorageUnavailable", 503


class StorageRefusedError(OpenEONCError, PermissionError):
    """Object storage refuses the credentials, or what they are used for."""

    code, http_status = "StorageFailure", 500


# --- requests to the server ------------------------------------------------------------------------


class NotFoundError(OpenEONCError, LookupError):
    """There is nothing at the path that was asked for."""

    code, http_status = "NotFound", 404


class RequestInvalidError(OpenEONCError, ValueError):
    """The body or a parameter of a request is not what the endpoint takes."""

    code, http_status = "RequestInvalid", 400


class RequestTooLargeError(OpenEONCError, ValueError):
    """The body of a request has more bytes than the server reads."""

    code, http_status = "RequestTooLarge", 413


class RangeInvalidError(OpenEONCError, ValueError):
    """A request asks for bytes that the file does not have."""

    code, http_status = "RangeInvalid", 416


class TooManyRequestsError(OpenEONCError, RuntimeError):
    """More requests came from one address than are answered in a minute."""

    code, http_status = "TooManyRequests", 429


class RequestTimeoutError(OpenEONCError, TimeoutError):
    """A synchronous result took longer than such may."""

    code, http_status = "RequestTimeout", 408


class SyncBusyError(OpenEONCError, RuntimeError):
    """As many synchronous results are computed as may be at once."""

    code, http_status = "InfrastructureBusy", 503


class SyncLostError(OpenEONCError, RuntimeError):
    """The process that computed a synchronous result ended without an answer."""


class AuthenticationRequiredError(OpenEONCError, PermissionError):
    """The endpoint is for users who have logged in."""

    code, http_status = "AuthenticationRequired", 401


class AuthenticationSchemeInvalidError(OpenEONCError, PermissionError):
    """The Authorization header has a form that the server does not take."""

    code, http_status = "AuthenticationSchemeInvalid", 403


class TokenInvalidError(OpenEONCError, PermissionError):
    """The token has expired, or was not made for this server."""

    code, http_status = "TokenInvalid", 403


class IssuerUnavailableError(OpenEONCError, ConnectionError):
    """A provider of log-ins does not answer, so its tokens cannot be checked."""

    code, http_status = "InfrastructureBusy", 503


class CredentialsInvalidError(OpenEONCError, PermissionError):
    """User name and password do not belong together."""

    code, http_status = "CredentialsInvalid", 403


class LinkInvalidError(OpenEONCError, PermissionError):
    """The signature of a link to a result is not the server's."""

    code, http_status = "PermissionsInsufficient", 403


class ResultLinkExpiredError(OpenEONCError, PermissionError):
    """The time of a link to a result is over."""

    code, http_status = "ResultLinkExpired", 410


class WorkspaceFileNotFoundError(OpenEONCError, FileNotFoundError):
    """The user's workspace has no such file."""

    code, http_status = "FileNotFound", 404


class FilePathInvalidError(OpenEONCError, ValueError):
    """A path of a file in the workspace leaves it, or has characters that it may not have."""

    code, http_status = "FilePathInvalid", 400


class FileOperationUnsupportedError(OpenEONCError, IsADirectoryError):
    """The path is a folder, or lies below a file."""

    code, http_status = "FileOperationUnsupported", 400


class FileSizeExceededError(OpenEONCError, ValueError):
    """A file is larger than uploads may be."""

    code, http_status = "FileSizeExceeded", 400


class StorageQuotaExceededError(OpenEONCError, OSError):
    """The user's workspace is full."""

    code, http_status = "StorageQuotaExceeded", 400
