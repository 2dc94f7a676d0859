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


class FormatUnsupportedError(OpenEONCError, ValueError):
    """save_result was asked for a format, or an option of it, that is not offered."""

    code, http_status = "FormatUnsupported", 400


class FormatUnsuitableError(OpenEONCError, ValueError):
    """The format exists but cannot hold this cube."""

    code, http_status = "FormatUnsuitable", 400


class OutputExistsError(OpenEONCError, FileExistsError):
    """The output folder exists; nothing in it was touched."""

    code, http_status = "OutputExists", 409


class ResourceMissingError(OpenEONCError, FileNotFoundError):
    """A folder that belongs to the package is not there: the installation is incomplete."""

    code, http_status = "Internal", 500


class SchedulerUnreachableError(OpenEONCError, ConnectionError):
    """No Dask scheduler answers at the address that was given."""

    code, http_status = "SchedulerUnreachable", 503


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


class EmbeddingChangedError(OpenEONCError, ValueError):
    """The embedding's values left the quantiser's lattice: arithmetic changed them."""

    code, http_status = "EmbeddingChanged", 400


class EmbeddingMisalignedError(OpenEONCError, ValueError):
    """The embedding was cropped or resampled off the grid of whole tiles."""

    code, http_status = "EmbeddingMisaligned", 400
