"""Loads what can be a `model`: by its id, or from the STAC Item that describes it."""

from __future__ import annotations

from openeo_nc.cubes import addresses
from openeo_nc.cubes.catalogue import locate, read_json
from openeo_nc.errors import AddressRefusedError
from openeo_nc.models.base import ModelCard
from openeo_nc.models.mlm import card_of_item
from openeo_nc.models.registry import get_model_card, list_models


def is_address(name: str) -> bool:
    """Whether a model is named by an Item's address, and not by an id."""
    return "://" in name or name.endswith(".json")


def load_encoder(
    uri: str, *, asset: str | None = None, input_index: int = 0, output_index: int = 0
) -> ModelCard:
    """The card of the encoder that an MLM Item at a URL or path describes; reads the Item only.

    Where a server's guard is in force, Item and model must lie at hosts that the operator trusts:
    a network is a program, and its reader is not proof against any bytes.

    Raises
    ------
    AddressRefusedError, InvalidParameterError, CardInvalidError
    """
    href = uri if addresses.guard() is not None else locate(uri)
    _check(href)
    card = card_of_item(
        read_json(href), href, asset=asset, input_index=input_index, output_index=output_index
    )
    _check(str(card.source["href"]))
    return card


def known_model(name: str) -> ModelCard | None:
    """The card of an installed model, or of one at an Item's address; None if it is neither."""
    if name in {card.model_id for card in list_models()}:
        return get_model_card(name)
    return load_encoder(name) if is_address(name) else None


def _check(href: str) -> None:
    by = addresses.guard()
    if by is not None and addresses.host_of(href) not in by.hosts:
        raise AddressRefusedError(
            f"'{href[:200]}' is not read here: models are loaded from hosts that the operator of "
            "this server trusts."
        )
