"""What moving and coding data costs in energy and money, from assumptions that are stated once."""
