from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HandshakeMessage(_message.Message):
    __slots__ = ("client_hello", "server_hello", "client_finish")
    class ClientHello(_message.Message):
        __slots__ = ("ephemeral",)
        EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
        ephemeral: bytes
        def __init__(self, ephemeral: _Optional[bytes] = ...) -> None: ...
    class ServerHello(_message.Message):
        __slots__ = ("ephemeral", "static", "payload")
        EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
        STATIC_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        ephemeral: bytes
        static: bytes
        payload: bytes
        def __init__(self, ephemeral: _Optional[bytes] = ..., static: _Optional[bytes] = ..., payload: _Optional[bytes] = ...) -> None: ...
    class ClientFinish(_message.Message):
        __slots__ = ("static", "payload")
        STATIC_FIELD_NUMBER: _ClassVar[int]
        PAYLOAD_FIELD_NUMBER: _ClassVar[int]
        static: bytes
        payload: bytes
        def __init__(self, static: _Optional[bytes] = ..., payload: _Optional[bytes] = ...) -> None: ...
    CLIENT_HELLO_FIELD_NUMBER: _ClassVar[int]
    SERVER_HELLO_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FINISH_FIELD_NUMBER: _ClassVar[int]
    client_hello: HandshakeMessage.ClientHello
    server_hello: HandshakeMessage.ServerHello
    client_finish: HandshakeMessage.ClientFinish
    def __init__(self, client_hello: _Optional[_Union[HandshakeMessage.ClientHello, _Mapping[str, object]]] = ..., server_hello: _Optional[_Union[HandshakeMessage.ServerHello, _Mapping[str, object]]] = ..., client_finish: _Optional[_Union[HandshakeMessage.ClientFinish, _Mapping[str, object]]] = ...) -> None: ...

class CertificateChain(_message.Message):
    __slots__ = ("leaf", "intermediate")
    class Certificate(_message.Message):
        __slots__ = ("details", "signature")
        class Details(_message.Message):
            __slots__ = ("serial", "issuer_serial", "key", "not_before", "not_after")
            SERIAL_FIELD_NUMBER: _ClassVar[int]
            ISSUER_SERIAL_FIELD_NUMBER: _ClassVar[int]
            KEY_FIELD_NUMBER: _ClassVar[int]
            NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
            NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
            serial: int
            issuer_serial: int
            key: bytes
            not_before: int
            not_after: int
            def __init__(self, serial: _Optional[int] = ..., issuer_serial: _Optional[int] = ..., key: _Optional[bytes] = ..., not_before: _Optional[int] = ..., not_after: _Optional[int] = ...) -> None: ...
        DETAILS_FIELD_NUMBER: _ClassVar[int]
        SIGNATURE_FIELD_NUMBER: _ClassVar[int]
        details: bytes
        signature: bytes
        def __init__(self, details: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
    LEAF_FIELD_NUMBER: _ClassVar[int]
    INTERMEDIATE_FIELD_NUMBER: _ClassVar[int]
    leaf: CertificateChain.Certificate
    intermediate: CertificateChain.Certificate
    def __init__(self, leaf: _Optional[_Union[CertificateChain.Certificate, _Mapping[str, object]]] = ..., intermediate: _Optional[_Union[CertificateChain.Certificate, _Mapping[str, object]]] = ...) -> None: ...

class ClientPayload(_message.Message):
    __slots__ = ("username", "passive", "device", "registration")
    class Registration(_message.Message):
        __slots__ = ("registration_id", "key_type", "identity", "signed_prekey_id", "signed_prekey", "signed_prekey_signature", "device_props")
        REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
        KEY_TYPE_FIELD_NUMBER: _ClassVar[int]
        IDENTITY_FIELD_NUMBER: _ClassVar[int]
        SIGNED_PREKEY_ID_FIELD_NUMBER: _ClassVar[int]
        SIGNED_PREKEY_FIELD_NUMBER: _ClassVar[int]
        SIGNED_PREKEY_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
        DEVICE_PROPS_FIELD_NUMBER: _ClassVar[int]
        registration_id: bytes
        key_type: bytes
        identity: bytes
        signed_prekey_id: bytes
        signed_prekey: bytes
        signed_prekey_signature: bytes
        device_props: bytes
        def __init__(self, registration_id: _Optional[bytes] = ..., key_type: _Optional[bytes] = ..., identity: _Optional[bytes] = ..., signed_prekey_id: _Optional[bytes] = ..., signed_prekey: _Optional[bytes] = ..., signed_prekey_signature: _Optional[bytes] = ..., device_props: _Optional[bytes] = ...) -> None: ...
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSIVE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    username: int
    passive: bool
    device: int
    registration: ClientPayload.Registration
    def __init__(self, username: _Optional[int] = ..., passive: bool = ..., device: _Optional[int] = ..., registration: _Optional[_Union[ClientPayload.Registration, _Mapping[str, object]]] = ...) -> None: ...

class DeviceProps(_message.Message):
    __slots__ = ("os", "platform_type", "require_full_sync")
    OS_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_FULL_SYNC_FIELD_NUMBER: _ClassVar[int]
    os: str
    platform_type: int
    require_full_sync: bool
    def __init__(self, os: _Optional[str] = ..., platform_type: _Optional[int] = ..., require_full_sync: bool = ...) -> None: ...

class DeviceIdentity(_message.Message):
    __slots__ = ("raw_id", "timestamp", "key_index")
    RAW_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEX_FIELD_NUMBER: _ClassVar[int]
    raw_id: int
    timestamp: int
    key_index: int
    def __init__(self, raw_id: _Optional[int] = ..., timestamp: _Optional[int] = ..., key_index: _Optional[int] = ...) -> None: ...

class SignedDeviceIdentity(_message.Message):
    __slots__ = ("details", "account_key", "account_signature", "device_signature")
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    details: bytes
    account_key: bytes
    account_signature: bytes
    device_signature: bytes
    def __init__(self, details: _Optional[bytes] = ..., account_key: _Optional[bytes] = ..., account_signature: _Optional[bytes] = ..., device_signature: _Optional[bytes] = ...) -> None: ...

class SealedDeviceIdentity(_message.Message):
    __slots__ = ("details", "hmac")
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    HMAC_FIELD_NUMBER: _ClassVar[int]
    details: bytes
    hmac: bytes
    def __init__(self, details: _Optional[bytes] = ..., hmac: _Optional[bytes] = ...) -> None: ...

class SignalMessage(_message.Message):
    __slots__ = ("ratchet_key", "counter", "previous_counter", "ciphertext")
    RATCHET_KEY_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COUNTER_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    ratchet_key: bytes
    counter: int
    previous_counter: int
    ciphertext: bytes
    def __init__(self, ratchet_key: _Optional[bytes] = ..., counter: _Optional[int] = ..., previous_counter: _Optional[int] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class PreKeySignalMessage(_message.Message):
    __slots__ = ("prekey_id", "base_key", "identity", "message", "registration_id", "signed_prekey_id")
    PREKEY_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_KEY_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_PREKEY_ID_FIELD_NUMBER: _ClassVar[int]
    prekey_id: int
    base_key: bytes
    identity: bytes
    message: bytes
    registration_id: int
    signed_prekey_id: int
    def __init__(self, prekey_id: _Optional[int] = ..., base_key: _Optional[bytes] = ..., identity: _Optional[bytes] = ..., message: _Optional[bytes] = ..., registration_id: _Optional[int] = ..., signed_prekey_id: _Optional[int] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("conversation", "extended_text", "device_sent")
    class ExtendedText(_message.Message):
        __slots__ = ("text",)
        TEXT_FIELD_NUMBER: _ClassVar[int]
        text: str
        def __init__(self, text: _Optional[str] = ...) -> None: ...
    class DeviceSent(_message.Message):
        __slots__ = ("destination", "message")
        DESTINATION_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        destination: str
        message: Message
        def __init__(self, destination: _Optional[str] = ..., message: _Optional[_Union[Message, _Mapping[str, object]]] = ...) -> None: ...
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_TEXT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_SENT_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    extended_text: Message.ExtendedText
    device_sent: Message.DeviceSent
    def __init__(self, conversation: _Optional[str] = ..., extended_text: _Optional[_Union[Message.ExtendedText, _Mapping[str, object]]] = ..., device_sent: _Optional[_Union[Message.DeviceSent, _Mapping[str, object]]] = ...) -> None: ...
