"""Who is let in, and to what: keys, tokens, rights, companies, the number of requests."""

from __future__ import annotations

import base64
import hmac
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from wasessionpool import ConfigurationError
from wasessionpool.fastapi import Tokens
from wasessionpool.http.errors import HttpError
from wasessionpool.http.quota import Quota
from wasessionpool.http.rights import ALL_RIGHTS, NEEDED, Grant, Right

from .conftest import BOB, COMPANY, KEY, OTHER, OpenService, Service

pytestmark = pytest.mark.anyio
CALLS = {
    "list_sessions": ("GET", "/sessions"),
    "get_session": ("GET", f"/sessions/{COMPANY}"),
    "explain_session": ("GET", f"/sessions/{COMPANY}/explain"),
    "get_metrics": ("GET", "/metrics"),
    "get_prometheus_metrics": ("GET", "/metrics/prometheus"),
    "send_message": ("POST", f"/sessions/{COMPANY}/messages"),
    "create_session": ("POST", "/sessions"),
    "delete_session": ("DELETE", f"/sessions/{COMPANY}"),
    "disconnect_session": ("POST", f"/sessions/{COMPANY}/disconnect"),
    "restart_session": ("POST", f"/sessions/{COMPANY}/restart"),
    "logout_session": ("POST", f"/sessions/{COMPANY}/logout"),
    "get_qr": ("GET", f"/sessions/{COMPANY}/qr"),
    "get_health": ("GET", "/health"),
    "get_readiness": ("GET", "/health/ready"),
}
NOTHING = {"totalSessions": 0, "activeConnections": 0, "messagesSent": 0, "messagesReceived": 0}
BODIES: dict[str, Any] = {
    "send_message": {"to": BOB, "message": "Hello"},
    "create_session": {"companyId": COMPANY},
}


def test_every_call_is_tried_here() -> None:
    assert set(CALLS) == set(NEEDED)


async def call(service: Service, name: str, **request: Any) -> Any:
    method, path = CALLS[name]
    body = {"json": BODIES[name]} if name in BODIES else {}
    return await service.ask(method, path, **body, **request)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": KEY.upper()},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {base64.b64encode(KEY.encode()).decode()}"},
        {"Authorization": KEY},
        {"Authorization": ""},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {KEY}"},
        {"Cookie": f"X-API-Key={KEY}"},
    ],
    ids=str,
)
async def test_without_a_right_key_nothing_is_said_or_done(service: Service, headers: dict[str, str]) -> None:
    await service.connect()
    for name, right in NEEDED.items():
        answer = await call(service, name, key=None, headers=headers)
        if right is None:
            assert answer.status_code == 200
            continue
        assert answer.status_code == 401
        assert answer.json() == {"success": False, "error": "A valid API key is required", "code": "unauthorized"}
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert len(await service.pool.get_active_sessions()) == 1
    assert service.driver.link.sent == []


async def test_a_key_in_either_header(service: Service) -> None:
    for name, value in (("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}"), ("authorization", f"bearer  {KEY}")):
        assert (await service.get("/sessions", key=None, headers={name: value})).status_code == 200


async def test_a_key_in_the_path_is_no_key(service: Service) -> None:
    answer = await service.get(f"/sessions?X-API-Key={KEY}&api_key={KEY}&access_token={KEY}", key=None)
    assert answer.status_code == 401


@pytest.mark.parametrize("right", sorted(ALL_RIGHTS))
async def test_a_call_needs_its_right(service: Service, right: str) -> None:
    key, _ = await service.keys.create(rights=[right])
    for name, needed in NEEDED.items():
        await service.connect()
        answer = await call(service, name, key=key)
        if needed in (right, None):
            assert answer.status_code in (200, 201) or answer.json()["code"] == "no_qr_waiting", name
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), name


async def test_a_company_out_of_reach_is_as_unknown_as_one_that_is_not_there(service: Service) -> None:
    await service.connect()
    key, _ = await service.keys.create(rights=ALL_RIGHTS, companies=[OTHER])
    for name in [name for name, right in NEEDED.items() if right]:
        answer = await call(service, name, key=key)
        if name == "list_sessions":
            assert answer.json() == {"success": True, "count": 0, "sessions": [], "metrics": NOTHING}
        elif name == "get_prometheus_metrics":
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        elif name == "get_metrics":
            assert answer.json() == {"success": True, "metrics": NOTHING}
        else:
            assert answer.status_code == 404
            said = f"Session not found for company {COMPANY}"
            assert answer.json() == {"success": False, "error": said, "code": "session_not_found"}
    assert len(await service.pool.get_active_sessions()) == 1
    assert service.driver.link.sent == []


async def test_a_key_of_a_company_sees_and_does_what_is_theirs(service: Service) -> None:
    await service.connect()
    await service.connect(OTHER)
    key, _ = await service.keys.create(rights=ALL_RIGHTS, companies=[OTHER])
    await service.send(COMPANY)
    assert (await service.send(OTHER, key=key)).status_code == 201
    body = (await service.get("/sessions", key=key)).json()
    assert [one["companyId"] for one in body["sessions"]] == [OTHER]
    assert body["metrics"] == {"totalSessions": 1, "activeConnections": 1, "messagesSent": 1, "messagesReceived": 0}
    assert (await service.get("/metrics", key=key)).json()["metrics"] == body["metrics"]
    assert (await service.post("/sessions", key=key, json={"companyId": OTHER, "device": "sales"})).status_code == 201
    assert (await service.delete(f"/sessions/{OTHER}", key=key)).status_code == 200


async def test_a_revoked_key_is_refused_from_the_next_request_on(service: Service) -> None:
    key, kept = await service.keys.create(rights=["read"])
    assert (await service.get("/sessions", key=key)).status_code == 200
    await service.keys.revoke(kept.id)
    assert (await service.get("/sessions", key=key)).status_code == 401


async def test_only_who_may_link_a_phone_is_shown_its_code(service: Service) -> None:
    await service.pool.create_session(COMPANY)
    key, _ = await service.keys.create(rights=["send"])
    answer = await service.send(key=key)
    assert answer.status_code == 409
    assert answer.json() == {"success": False, "error": "Authentication required", "code": "authentication_required"}
    status = await service.pool.get_session_status(COMPANY)
    assert status.qr is not None
    assert (await service.send()).json() == answer.json() | {"qrCode": status.qr.data_url()}
    await service.pool.create_session(COMPANY, phone_number="79686484488")
    assert (await service.send()).json() == answer.json() | {"pairingCode": "ABCD1234"}
    assert "ABCD1234" not in (await service.send(key=key)).text


async def test_a_service_without_keys_does_not_start(open_service: OpenService) -> None:
    with pytest.raises(ConfigurationError, match=r"WHATSAPP_API_KEYS.*allow_anonymous=True"):
        async with open_service(keys=[]):
            raise AssertionError("it was opened")


async def test_a_service_may_be_opened_to_everybody(open_service: OpenService) -> None:
    async with open_service(keys=[], allow_anonymous=True) as service:
        assert (await service.post("/sessions", key=None, json={"companyId": COMPANY})).status_code == 201
        assert (await service.get("/sessions", key="wrong")).status_code == 401


async def test_keys_that_were_made_are_enough_to_start(open_service: OpenService) -> None:
    async with open_service() as service:
        key, _ = await service.keys.create(rights=["read"])
        shelf = service.keys._shelf
    async with open_service(keys=[], backends={"shelf": shelf}) as service:
        assert (await service.get("/sessions", key=key)).status_code == 200
        assert (await service.get("/sessions", key=KEY)).status_code == 401


async def test_keys_of_the_environment_are_the_default(
    open_service: OpenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHATSAPP_API_KEYS", "a-key-of-the-environment")
    async with open_service(keys=None) as service:
        assert (await service.get("/sessions", key="a-key-of-the-environment")).status_code == 200
        assert (await service.get("/sessions")).status_code == 401


async def test_a_key_may_make_so_many_requests_a_minute(open_service: OpenService) -> None:
    with time_machine.travel(1_000_000_020.0, tick=False) as travel:
        async with open_service(request_limit=3, keys=[KEY, "another-key-beside-it"]) as service:
            for _ in range(3):
                assert (await service.get("/sessions")).status_code == 200
            for path in ("/sessions", f"/sessions/{COMPANY}"):
                answer = await service.get(path)
                assert answer.status_code == 429
                body = answer.json()
                assert (body["success"], body["code"]) == (False, "too_many_requests")
                assert 0 < body["retryAfter"] <= 60_000
                assert answer.headers["retry-after"] == str(-(-body["retryAfter"] // 1000))
            assert (await service.get("/sessions", key="another-key-beside-it")).status_code == 200
            assert (await service.get("/sessions", key="wrong")).status_code == 401
            assert (await service.get("/health", key=None)).status_code == 200
            travel.shift(body["retryAfter"] / 1000 + 0.001)
            assert (await service.get("/sessions")).status_code == 200


@pytest.mark.parametrize("back", [10.0, 3600.0])
def test_a_clock_that_is_set_back_shuts_no_key_out(back: float) -> None:
    with time_machine.travel(1_000_000_020.0, tick=False) as travel:
        quota = Quota(2)
        for _ in range(2):
            quota.spend("key")
        travel.shift(-back)
        for _ in range(2):
            quota.spend("key")
        with pytest.raises(HttpError) as refused:
            quota.spend("key")
        assert refused.value.retry_after == pytest.approx(60.0)


def test_what_a_quota_counted_is_forgotten_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasessionpool.limiters.memory.SWEEP_EVERY", 5)
    with time_machine.travel(1_000_000_020.0, tick=False) as travel:
        quota, threads = Quota(1), set(threading.enumerate())
        for number in range(20):
            quota.spend(f"subject {number}")
            travel.shift(61)
        assert set(threading.enumerate()) <= threads
        assert len(quota._windows.storage.storage) <= 5  # type: ignore[attr-defined]


PRIVATE = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
CLAIMS = {
    "iss": "https://login.example",
    "aud": "whatsapp",
    "sub": "ann",
    "companies": [COMPANY],
    "scope": "read whatsapp:send other",
}
READ_SEND: frozenset[Right] = frozenset({"read", "send"})


def pem(key: Any) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


def signed(algorithm: str = "ES256", *, key: Any = None, headers: Any = None, lasts: float = 600, **claims: Any) -> str:
    """Sign a token that expires in ``lasts`` seconds."""
    claims = CLAIMS | {"exp": time.time() + lasts} | claims
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key or PRIVATE[algorithm], algorithm, headers)


def tokens(tmp_path: Path, algorithm: str = "ES256", **options: Any) -> Tokens:
    file = tmp_path / f"{algorithm}.pem"
    file.write_bytes(pem(PRIVATE[algorithm].public_key()))
    return Tokens(**{"issuer": "https://login.example", "audience": "whatsapp", "key_file": file} | options)


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_token_says_what_it_allows(open_service: OpenService, tmp_path: Path, algorithm: str) -> None:
    async with open_service(keys=[], tokens=tokens(tmp_path, algorithm)) as service:
        await service.connect()
        await service.connect(OTHER)
        bearer = {"Authorization": f"Bearer {signed(algorithm)}"}
        body = (await service.get("/sessions", key=None, headers=bearer)).json()
        assert [one["companyId"] for one in body["sessions"]] == [COMPANY]
        assert (await service.send(key=None, headers=bearer)).status_code == 201
        assert (await service.send(OTHER, key=None, headers=bearer)).status_code == 404
        assert (await service.delete(f"/sessions/{COMPANY}", key=None, headers=bearer)).status_code == 403


async def test_keys_count_beside_tokens(open_service: OpenService, tmp_path: Path) -> None:
    async with open_service(tokens=tokens(tmp_path)) as service:
        assert (await service.get("/sessions")).status_code == 200


@pytest.mark.parametrize(
    ("claims", "grant"),
    [
        ({}, Grant("token:ann", READ_SEND, frozenset({COMPANY}))),
        ({"scope": ["manage"]}, Grant("token:ann", frozenset({"manage"}), frozenset({COMPANY}))),
        ({"companies": f"{COMPANY} {OTHER}"}, Grant("token:ann", READ_SEND, frozenset({COMPANY, OTHER}))),
        ({"companies": "*"}, Grant("token:ann", READ_SEND, None)),
        ({"companies": None}, Grant("token:ann", READ_SEND, frozenset())),
        ({"companies": {"*": 1}}, Grant("token:ann", READ_SEND, frozenset())),
        ({"companies": [1, None]}, Grant("token:ann", READ_SEND, frozenset())),
        ({"scope": None}, Grant("token:ann", frozenset(), frozenset({COMPANY}))),
        ({"lasts": -10}, Grant("token:ann", READ_SEND, frozenset({COMPANY}))),
        ({"lasts": -100}, None),
        ({"exp": None}, None),
        ({"exp": math.inf}, None),
        ({"exp": math.nan}, None),
        ({"nbf": math.inf}, None),
        ({"iss": "https://login.example.evil"}, None),
        ({"iss": None}, None),
        ({"aud": "another"}, None),
        ({"aud": None}, None),
        ({"sub": None}, None),
        ({"sub": 7}, None),
        ({"nbf": 9_999_999_999}, None),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else type(value).__name__,
)  # fmt: skip
def test_what_a_token_allows(tmp_path: Path, claims: dict[str, Any], grant: Grant | None) -> None:
    """What it does not say it does not."""
    assert tokens(tmp_path).find(signed(**claims)) == grant


def test_the_names_of_claims_can_be_chosen(tmp_path: Path) -> None:
    verifier = tokens(tmp_path, company_claim="tenant", rights_claim="may")
    assert verifier.find(signed(tenant=OTHER, may=["read"])) == Grant(
        "token:ann", frozenset({"read"}), frozenset({OTHER})
    )


def test_the_algorithm_follows_from_the_key_and_never_from_the_token(tmp_path: Path) -> None:
    verifier, public = tokens(tmp_path), pem(PRIVATE["ES256"].public_key())
    with_none = jwt.encode(CLAIMS | {"exp": time.time() + 600}, "", algorithm="none")
    header, body, _ = signed().split(".")

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    asked = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{body}"
    mac = hmac.digest(public, asked.encode(), "sha256")
    with_the_public_key_as_secret = f"{asked}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    own = ec.generate_private_key(ec.SECP256R1())
    for token in (
        with_none,
        f"{part({'alg': 'none'})}.{body}.",
        f"{part({'alg': 'None', 'typ': 'JWT'})}.{body}.",
        with_the_public_key_as_secret,
        signed("ES384"),
        signed("RS256"),
        signed(key=own),
        signed(key=own, headers={"jwk": {"kty": "EC"}, "kid": "../../key"}),
        f"{header}.{body}.",
        f"{header}.{body}",
        header,
        "..",
        "",
        "\xff.\xff.\xff",
        "a" * 10_000,
    ):
        assert verifier.find(token) is None, token[:60]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b"", "no public key"),
        (b"a-secret", "no public key"),
        (PRIVATE["RS256"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "no public key"),
        (pem(rsa.generate_private_key(65537, 1024).public_key()), "expected RSA of 2048 bits"),  # noqa: S505
        (pem(ec.generate_private_key(ec.SECP256K1()).public_key()), "expected RSA of 2048 bits"),
    ],
)
def test_a_key_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "key.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=problem) as caught:
        Tokens(issuer="i", audience="a", key_file=file)
    assert "a-secret" not in str(caught.value)
