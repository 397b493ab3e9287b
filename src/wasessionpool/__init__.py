"""Keep many companies' WhatsApp sessions alive in one application."""
