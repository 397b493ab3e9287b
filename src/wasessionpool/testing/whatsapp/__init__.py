"""A WhatsApp server on loopback that speaks the real protocol to an unmodified neonize."""
