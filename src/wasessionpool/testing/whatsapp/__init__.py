"""A WhatsApp server on loopback that speaks the real protocol to an unmodified neonize."""

from importlib.util import find_spec

for _name in ("cryptography", "h11", "trustme", "websockets"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(f"{_name} is not installed: pip install 'wasessionpool[testing]'", name=_name)
