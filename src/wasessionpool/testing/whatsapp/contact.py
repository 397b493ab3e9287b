"""Someone with WhatsApp, as a test plays them."""

from __future__ import annotations

from wasessionpool.testing.whatsapp.author import Author


class Contact(Author):
    """A person with a phone, who writes to others and reads what they get; the phone encrypts and decrypts for real."""
