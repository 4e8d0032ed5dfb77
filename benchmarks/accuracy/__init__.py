"""How well models predict."""
