"""Backends that open connections to WhatsApp."""
