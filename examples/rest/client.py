"""Create a session, send a message and look after the sessions of a running service, over HTTP.

    python examples/rest/client.py create 962302
    python examples/rest/client.py send 962302 79001234567 "Hello from WhatsApp!"
    python examples/rest/client.py monitor

`WHATSAPP_URL` says where the service is (http://localhost:8000 by default), `WHATSAPP_API_KEY` has its key. `httpx` is
there with wasessionpool; any other client does as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import httpx


def create_session(client: httpx.Client, company_id: str) -> None:
    answer = client.post("/sessions", json={"companyId": company_id}, timeout=60)
    if answer.is_error:
        print("Failed to create the session:", answer.json())
    elif "qrCode" in answer.json():
        print("Scan this QR code:", answer.json()["qrCode"])
    else:
        print("Session created:", answer.json())


def send_message(client: httpx.Client, company_id: str, phone_number: str, message: str) -> None:
    answer = client.post(f"/sessions/{company_id}/messages", json={"to": phone_number, "message": message}, timeout=60)
    if answer.is_error:
        print("Failed to send the message:", answer.json())
    else:
        print("Message sent:", answer.json())


def monitor_sessions(client: httpx.Client) -> None:
    answer = client.get("/sessions")
    if answer.is_error:
        print("Failed to get the sessions:", answer.json())
        return
    for session in answer.json()["sessions"]:
        print(f"Company {session['companyId']}: {session['status']}")
        if session["lastError"]:
            print(f"  Last error: {session['lastError']}")


CALLS: dict[str, Callable[..., None]] = {"create": create_session, "send": send_message, "monitor": monitor_sessions}


def main() -> None:
    service = os.environ.get("WHATSAPP_URL", "http://localhost:8000")
    key = {"X-API-Key": os.environ.get("WHATSAPP_API_KEY", "")}
    call, *arguments = sys.argv[1:]
    with httpx.Client(base_url=f"{service}/api/whatsapp", headers=key) as client:
        CALLS[call](client, *arguments)


if __name__ == "__main__":
    main()
