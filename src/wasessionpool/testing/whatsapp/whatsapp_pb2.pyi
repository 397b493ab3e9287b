from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
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

class SenderKeyMessage(_message.Message):
    __slots__ = ("key_id", "iteration", "ciphertext")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    key_id: int
    iteration: int
    ciphertext: bytes
    def __init__(self, key_id: _Optional[int] = ..., iteration: _Optional[int] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class SenderKeyDistribution(_message.Message):
    __slots__ = ("key_id", "iteration", "chain_key", "signing_key")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    CHAIN_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    key_id: int
    iteration: int
    chain_key: bytes
    signing_key: bytes
    def __init__(self, key_id: _Optional[int] = ..., iteration: _Optional[int] = ..., chain_key: _Optional[bytes] = ..., signing_key: _Optional[bytes] = ...) -> None: ...

class MessageKey(_message.Message):
    __slots__ = ("chat", "from_me", "id", "participant")
    CHAT_FIELD_NUMBER: _ClassVar[int]
    FROM_ME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    chat: str
    from_me: bool
    id: str
    participant: str
    def __init__(self, chat: _Optional[str] = ..., from_me: bool = ..., id: _Optional[str] = ..., participant: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("conversation", "group_key", "image", "extended_text", "document", "audio", "video", "protocol", "sticker", "device_sent", "context", "reaction", "poll", "poll_update", "poll_v2", "poll_v3")
    class GroupKey(_message.Message):
        __slots__ = ("group", "distribution")
        GROUP_FIELD_NUMBER: _ClassVar[int]
        DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
        group: str
        distribution: bytes
        def __init__(self, group: _Optional[str] = ..., distribution: _Optional[bytes] = ...) -> None: ...
    class Image(_message.Message):
        __slots__ = ("url", "mimetype", "caption", "file_sha256", "file_length", "media_key", "file_enc_sha256", "direct_path")
        URL_FIELD_NUMBER: _ClassVar[int]
        MIMETYPE_FIELD_NUMBER: _ClassVar[int]
        CAPTION_FIELD_NUMBER: _ClassVar[int]
        FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
        FILE_LENGTH_FIELD_NUMBER: _ClassVar[int]
        MEDIA_KEY_FIELD_NUMBER: _ClassVar[int]
        FILE_ENC_SHA256_FIELD_NUMBER: _ClassVar[int]
        DIRECT_PATH_FIELD_NUMBER: _ClassVar[int]
        url: str
        mimetype: str
        caption: str
        file_sha256: bytes
        file_length: int
        media_key: bytes
        file_enc_sha256: bytes
        direct_path: str
        def __init__(self, url: _Optional[str] = ..., mimetype: _Optional[str] = ..., caption: _Optional[str] = ..., file_sha256: _Optional[bytes] = ..., file_length: _Optional[int] = ..., media_key: _Optional[bytes] = ..., file_enc_sha256: _Optional[bytes] = ..., direct_path: _Optional[str] = ...) -> None: ...
    class ExtendedText(_message.Message):
        __slots__ = ("text",)
        TEXT_FIELD_NUMBER: _ClassVar[int]
        text: str
        def __init__(self, text: _Optional[str] = ...) -> None: ...
    class Document(_message.Message):
        __slots__ = ("url", "mimetype", "file_sha256", "file_length", "media_key", "file_name", "file_enc_sha256", "direct_path", "caption")
        URL_FIELD_NUMBER: _ClassVar[int]
        MIMETYPE_FIELD_NUMBER: _ClassVar[int]
        FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
        FILE_LENGTH_FIELD_NUMBER: _ClassVar[int]
        MEDIA_KEY_FIELD_NUMBER: _ClassVar[int]
        FILE_NAME_FIELD_NUMBER: _ClassVar[int]
        FILE_ENC_SHA256_FIELD_NUMBER: _ClassVar[int]
        DIRECT_PATH_FIELD_NUMBER: _ClassVar[int]
        CAPTION_FIELD_NUMBER: _ClassVar[int]
        url: str
        mimetype: str
        file_sha256: bytes
        file_length: int
        media_key: bytes
        file_name: str
        file_enc_sha256: bytes
        direct_path: str
        caption: str
        def __init__(self, url: _Optional[str] = ..., mimetype: _Optional[str] = ..., file_sha256: _Optional[bytes] = ..., file_length: _Optional[int] = ..., media_key: _Optional[bytes] = ..., file_name: _Optional[str] = ..., file_enc_sha256: _Optional[bytes] = ..., direct_path: _Optional[str] = ..., caption: _Optional[str] = ...) -> None: ...
    class Audio(_message.Message):
        __slots__ = ("url", "mimetype", "file_sha256", "file_length", "media_key", "file_enc_sha256", "direct_path")
        URL_FIELD_NUMBER: _ClassVar[int]
        MIMETYPE_FIELD_NUMBER: _ClassVar[int]
        FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
        FILE_LENGTH_FIELD_NUMBER: _ClassVar[int]
        MEDIA_KEY_FIELD_NUMBER: _ClassVar[int]
        FILE_ENC_SHA256_FIELD_NUMBER: _ClassVar[int]
        DIRECT_PATH_FIELD_NUMBER: _ClassVar[int]
        url: str
        mimetype: str
        file_sha256: bytes
        file_length: int
        media_key: bytes
        file_enc_sha256: bytes
        direct_path: str
        def __init__(self, url: _Optional[str] = ..., mimetype: _Optional[str] = ..., file_sha256: _Optional[bytes] = ..., file_length: _Optional[int] = ..., media_key: _Optional[bytes] = ..., file_enc_sha256: _Optional[bytes] = ..., direct_path: _Optional[str] = ...) -> None: ...
    class Video(_message.Message):
        __slots__ = ("url", "mimetype", "file_sha256", "file_length", "media_key", "caption", "file_enc_sha256", "direct_path")
        URL_FIELD_NUMBER: _ClassVar[int]
        MIMETYPE_FIELD_NUMBER: _ClassVar[int]
        FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
        FILE_LENGTH_FIELD_NUMBER: _ClassVar[int]
        MEDIA_KEY_FIELD_NUMBER: _ClassVar[int]
        CAPTION_FIELD_NUMBER: _ClassVar[int]
        FILE_ENC_SHA256_FIELD_NUMBER: _ClassVar[int]
        DIRECT_PATH_FIELD_NUMBER: _ClassVar[int]
        url: str
        mimetype: str
        file_sha256: bytes
        file_length: int
        media_key: bytes
        caption: str
        file_enc_sha256: bytes
        direct_path: str
        def __init__(self, url: _Optional[str] = ..., mimetype: _Optional[str] = ..., file_sha256: _Optional[bytes] = ..., file_length: _Optional[int] = ..., media_key: _Optional[bytes] = ..., caption: _Optional[str] = ..., file_enc_sha256: _Optional[bytes] = ..., direct_path: _Optional[str] = ...) -> None: ...
    class Protocol(_message.Message):
        __slots__ = ("key", "type", "history", "key_share", "key_request", "edited", "timestamp_ms")
        class KeyShare(_message.Message):
            __slots__ = ("keys",)
            KEYS_FIELD_NUMBER: _ClassVar[int]
            keys: _containers.RepeatedCompositeFieldContainer[Message.Protocol.SyncKey]
            def __init__(self, keys: _Optional[_Iterable[_Union[Message.Protocol.SyncKey, _Mapping[str, object]]]] = ...) -> None: ...
        class KeyRequest(_message.Message):
            __slots__ = ("ids",)
            IDS_FIELD_NUMBER: _ClassVar[int]
            ids: _containers.RepeatedCompositeFieldContainer[Message.Protocol.SyncKeyId]
            def __init__(self, ids: _Optional[_Iterable[_Union[Message.Protocol.SyncKeyId, _Mapping[str, object]]]] = ...) -> None: ...
        class SyncKey(_message.Message):
            __slots__ = ("id", "data")
            class Data(_message.Message):
                __slots__ = ("key", "fingerprint", "timestamp")
                KEY_FIELD_NUMBER: _ClassVar[int]
                FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
                TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
                key: bytes
                fingerprint: Message.Protocol.Fingerprint
                timestamp: int
                def __init__(self, key: _Optional[bytes] = ..., fingerprint: _Optional[_Union[Message.Protocol.Fingerprint, _Mapping[str, object]]] = ..., timestamp: _Optional[int] = ...) -> None: ...
            ID_FIELD_NUMBER: _ClassVar[int]
            DATA_FIELD_NUMBER: _ClassVar[int]
            id: Message.Protocol.SyncKeyId
            data: Message.Protocol.SyncKey.Data
            def __init__(self, id: _Optional[_Union[Message.Protocol.SyncKeyId, _Mapping[str, object]]] = ..., data: _Optional[_Union[Message.Protocol.SyncKey.Data, _Mapping[str, object]]] = ...) -> None: ...
        class SyncKeyId(_message.Message):
            __slots__ = ("id",)
            ID_FIELD_NUMBER: _ClassVar[int]
            id: bytes
            def __init__(self, id: _Optional[bytes] = ...) -> None: ...
        class Fingerprint(_message.Message):
            __slots__ = ("raw_id", "current_index", "device_indexes")
            RAW_ID_FIELD_NUMBER: _ClassVar[int]
            CURRENT_INDEX_FIELD_NUMBER: _ClassVar[int]
            DEVICE_INDEXES_FIELD_NUMBER: _ClassVar[int]
            raw_id: int
            current_index: int
            device_indexes: _containers.RepeatedScalarFieldContainer[int]
            def __init__(self, raw_id: _Optional[int] = ..., current_index: _Optional[int] = ..., device_indexes: _Optional[_Iterable[int]] = ...) -> None: ...
        class HistoryNotice(_message.Message):
            __slots__ = ("sync_type", "chunk_order", "progress", "payload")
            SYNC_TYPE_FIELD_NUMBER: _ClassVar[int]
            CHUNK_ORDER_FIELD_NUMBER: _ClassVar[int]
            PROGRESS_FIELD_NUMBER: _ClassVar[int]
            PAYLOAD_FIELD_NUMBER: _ClassVar[int]
            sync_type: int
            chunk_order: int
            progress: int
            payload: bytes
            def __init__(self, sync_type: _Optional[int] = ..., chunk_order: _Optional[int] = ..., progress: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...
        KEY_FIELD_NUMBER: _ClassVar[int]
        TYPE_FIELD_NUMBER: _ClassVar[int]
        HISTORY_FIELD_NUMBER: _ClassVar[int]
        KEY_SHARE_FIELD_NUMBER: _ClassVar[int]
        KEY_REQUEST_FIELD_NUMBER: _ClassVar[int]
        EDITED_FIELD_NUMBER: _ClassVar[int]
        TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
        key: MessageKey
        type: int
        history: Message.Protocol.HistoryNotice
        key_share: Message.Protocol.KeyShare
        key_request: Message.Protocol.KeyRequest
        edited: Message
        timestamp_ms: int
        def __init__(self, key: _Optional[_Union[MessageKey, _Mapping[str, object]]] = ..., type: _Optional[int] = ..., history: _Optional[_Union[Message.Protocol.HistoryNotice, _Mapping[str, object]]] = ..., key_share: _Optional[_Union[Message.Protocol.KeyShare, _Mapping[str, object]]] = ..., key_request: _Optional[_Union[Message.Protocol.KeyRequest, _Mapping[str, object]]] = ..., edited: _Optional[_Union[Message, _Mapping[str, object]]] = ..., timestamp_ms: _Optional[int] = ...) -> None: ...
    class Sticker(_message.Message):
        __slots__ = ("url", "file_sha256", "file_enc_sha256", "media_key", "mimetype", "direct_path", "file_length")
        URL_FIELD_NUMBER: _ClassVar[int]
        FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
        FILE_ENC_SHA256_FIELD_NUMBER: _ClassVar[int]
        MEDIA_KEY_FIELD_NUMBER: _ClassVar[int]
        MIMETYPE_FIELD_NUMBER: _ClassVar[int]
        DIRECT_PATH_FIELD_NUMBER: _ClassVar[int]
        FILE_LENGTH_FIELD_NUMBER: _ClassVar[int]
        url: str
        file_sha256: bytes
        file_enc_sha256: bytes
        media_key: bytes
        mimetype: str
        direct_path: str
        file_length: int
        def __init__(self, url: _Optional[str] = ..., file_sha256: _Optional[bytes] = ..., file_enc_sha256: _Optional[bytes] = ..., media_key: _Optional[bytes] = ..., mimetype: _Optional[str] = ..., direct_path: _Optional[str] = ..., file_length: _Optional[int] = ...) -> None: ...
    class DeviceSent(_message.Message):
        __slots__ = ("destination", "message")
        DESTINATION_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        destination: str
        message: Message
        def __init__(self, destination: _Optional[str] = ..., message: _Optional[_Union[Message, _Mapping[str, object]]] = ...) -> None: ...
    class ContextInfo(_message.Message):
        __slots__ = ("message_secret",)
        MESSAGE_SECRET_FIELD_NUMBER: _ClassVar[int]
        message_secret: bytes
        def __init__(self, message_secret: _Optional[bytes] = ...) -> None: ...
    class Reaction(_message.Message):
        __slots__ = ("key", "text", "timestamp_ms")
        KEY_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
        key: MessageKey
        text: str
        timestamp_ms: int
        def __init__(self, key: _Optional[_Union[MessageKey, _Mapping[str, object]]] = ..., text: _Optional[str] = ..., timestamp_ms: _Optional[int] = ...) -> None: ...
    class Poll(_message.Message):
        __slots__ = ("name", "options", "selectable")
        class Option(_message.Message):
            __slots__ = ("name",)
            NAME_FIELD_NUMBER: _ClassVar[int]
            name: str
            def __init__(self, name: _Optional[str] = ...) -> None: ...
        NAME_FIELD_NUMBER: _ClassVar[int]
        OPTIONS_FIELD_NUMBER: _ClassVar[int]
        SELECTABLE_FIELD_NUMBER: _ClassVar[int]
        name: str
        options: _containers.RepeatedCompositeFieldContainer[Message.Poll.Option]
        selectable: int
        def __init__(self, name: _Optional[str] = ..., options: _Optional[_Iterable[_Union[Message.Poll.Option, _Mapping[str, object]]]] = ..., selectable: _Optional[int] = ...) -> None: ...
    class PollUpdate(_message.Message):
        __slots__ = ("poll", "vote", "timestamp_ms")
        class Sealed(_message.Message):
            __slots__ = ("payload", "iv")
            PAYLOAD_FIELD_NUMBER: _ClassVar[int]
            IV_FIELD_NUMBER: _ClassVar[int]
            payload: bytes
            iv: bytes
            def __init__(self, payload: _Optional[bytes] = ..., iv: _Optional[bytes] = ...) -> None: ...
        POLL_FIELD_NUMBER: _ClassVar[int]
        VOTE_FIELD_NUMBER: _ClassVar[int]
        TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
        poll: MessageKey
        vote: Message.PollUpdate.Sealed
        timestamp_ms: int
        def __init__(self, poll: _Optional[_Union[MessageKey, _Mapping[str, object]]] = ..., vote: _Optional[_Union[Message.PollUpdate.Sealed, _Mapping[str, object]]] = ..., timestamp_ms: _Optional[int] = ...) -> None: ...
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    GROUP_KEY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    EXTENDED_TEXT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STICKER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_SENT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    REACTION_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    POLL_UPDATE_FIELD_NUMBER: _ClassVar[int]
    POLL_V2_FIELD_NUMBER: _ClassVar[int]
    POLL_V3_FIELD_NUMBER: _ClassVar[int]
    conversation: str
    group_key: Message.GroupKey
    image: Message.Image
    extended_text: Message.ExtendedText
    document: Message.Document
    audio: Message.Audio
    video: Message.Video
    protocol: Message.Protocol
    sticker: Message.Sticker
    device_sent: Message.DeviceSent
    context: Message.ContextInfo
    reaction: Message.Reaction
    poll: Message.Poll
    poll_update: Message.PollUpdate
    poll_v2: Message.Poll
    poll_v3: Message.Poll
    def __init__(self, conversation: _Optional[str] = ..., group_key: _Optional[_Union[Message.GroupKey, _Mapping[str, object]]] = ..., image: _Optional[_Union[Message.Image, _Mapping[str, object]]] = ..., extended_text: _Optional[_Union[Message.ExtendedText, _Mapping[str, object]]] = ..., document: _Optional[_Union[Message.Document, _Mapping[str, object]]] = ..., audio: _Optional[_Union[Message.Audio, _Mapping[str, object]]] = ..., video: _Optional[_Union[Message.Video, _Mapping[str, object]]] = ..., protocol: _Optional[_Union[Message.Protocol, _Mapping[str, object]]] = ..., sticker: _Optional[_Union[Message.Sticker, _Mapping[str, object]]] = ..., device_sent: _Optional[_Union[Message.DeviceSent, _Mapping[str, object]]] = ..., context: _Optional[_Union[Message.ContextInfo, _Mapping[str, object]]] = ..., reaction: _Optional[_Union[Message.Reaction, _Mapping[str, object]]] = ..., poll: _Optional[_Union[Message.Poll, _Mapping[str, object]]] = ..., poll_update: _Optional[_Union[Message.PollUpdate, _Mapping[str, object]]] = ..., poll_v2: _Optional[_Union[Message.Poll, _Mapping[str, object]]] = ..., poll_v3: _Optional[_Union[Message.Poll, _Mapping[str, object]]] = ...) -> None: ...

class History(_message.Message):
    __slots__ = ("sync_type", "chats", "chunk_order", "progress")
    class Entry(_message.Message):
        __slots__ = ("key", "message", "timestamp")
        KEY_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
        key: MessageKey
        message: Message
        timestamp: int
        def __init__(self, key: _Optional[_Union[MessageKey, _Mapping[str, object]]] = ..., message: _Optional[_Union[Message, _Mapping[str, object]]] = ..., timestamp: _Optional[int] = ...) -> None: ...
    class Item(_message.Message):
        __slots__ = ("entry", "order")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        ORDER_FIELD_NUMBER: _ClassVar[int]
        entry: History.Entry
        order: int
        def __init__(self, entry: _Optional[_Union[History.Entry, _Mapping[str, object]]] = ..., order: _Optional[int] = ...) -> None: ...
    class Chat(_message.Message):
        __slots__ = ("id", "items")
        ID_FIELD_NUMBER: _ClassVar[int]
        ITEMS_FIELD_NUMBER: _ClassVar[int]
        id: str
        items: _containers.RepeatedCompositeFieldContainer[History.Item]
        def __init__(self, id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[History.Item, _Mapping[str, object]]]] = ...) -> None: ...
    SYNC_TYPE_FIELD_NUMBER: _ClassVar[int]
    CHATS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_ORDER_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    sync_type: int
    chats: _containers.RepeatedCompositeFieldContainer[History.Chat]
    chunk_order: int
    progress: int
    def __init__(self, sync_type: _Optional[int] = ..., chats: _Optional[_Iterable[_Union[History.Chat, _Mapping[str, object]]]] = ..., chunk_order: _Optional[int] = ..., progress: _Optional[int] = ...) -> None: ...

class PollVote(_message.Message):
    __slots__ = ("selected",)
    SELECTED_FIELD_NUMBER: _ClassVar[int]
    selected: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, selected: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SyncMutation(_message.Message):
    __slots__ = ("operation", "record")
    class Blob(_message.Message):
        __slots__ = ("blob",)
        BLOB_FIELD_NUMBER: _ClassVar[int]
        blob: bytes
        def __init__(self, blob: _Optional[bytes] = ...) -> None: ...
    class KeyId(_message.Message):
        __slots__ = ("id",)
        ID_FIELD_NUMBER: _ClassVar[int]
        id: bytes
        def __init__(self, id: _Optional[bytes] = ...) -> None: ...
    class Record(_message.Message):
        __slots__ = ("index", "value", "key_id")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        KEY_ID_FIELD_NUMBER: _ClassVar[int]
        index: SyncMutation.Blob
        value: SyncMutation.Blob
        key_id: SyncMutation.KeyId
        def __init__(self, index: _Optional[_Union[SyncMutation.Blob, _Mapping[str, object]]] = ..., value: _Optional[_Union[SyncMutation.Blob, _Mapping[str, object]]] = ..., key_id: _Optional[_Union[SyncMutation.KeyId, _Mapping[str, object]]] = ...) -> None: ...
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    operation: int
    record: SyncMutation.Record
    def __init__(self, operation: _Optional[int] = ..., record: _Optional[_Union[SyncMutation.Record, _Mapping[str, object]]] = ...) -> None: ...

class SyncPatch(_message.Message):
    __slots__ = ("version", "mutations", "snapshot_mac", "patch_mac", "key_id")
    class Version(_message.Message):
        __slots__ = ("version",)
        VERSION_FIELD_NUMBER: _ClassVar[int]
        version: int
        def __init__(self, version: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MUTATIONS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_MAC_FIELD_NUMBER: _ClassVar[int]
    PATCH_MAC_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    version: SyncPatch.Version
    mutations: _containers.RepeatedCompositeFieldContainer[SyncMutation]
    snapshot_mac: bytes
    patch_mac: bytes
    key_id: SyncMutation.KeyId
    def __init__(self, version: _Optional[_Union[SyncPatch.Version, _Mapping[str, object]]] = ..., mutations: _Optional[_Iterable[_Union[SyncMutation, _Mapping[str, object]]]] = ..., snapshot_mac: _Optional[bytes] = ..., patch_mac: _Optional[bytes] = ..., key_id: _Optional[_Union[SyncMutation.KeyId, _Mapping[str, object]]] = ...) -> None: ...

class SyncAction(_message.Message):
    __slots__ = ("index", "value", "padding", "version")
    class Value(_message.Message):
        __slots__ = ("timestamp", "push_name")
        class PushName(_message.Message):
            __slots__ = ("name",)
            NAME_FIELD_NUMBER: _ClassVar[int]
            name: str
            def __init__(self, name: _Optional[str] = ...) -> None: ...
        TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
        PUSH_NAME_FIELD_NUMBER: _ClassVar[int]
        timestamp: int
        push_name: SyncAction.Value.PushName
        def __init__(self, timestamp: _Optional[int] = ..., push_name: _Optional[_Union[SyncAction.Value.PushName, _Mapping[str, object]]] = ...) -> None: ...
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    PADDING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    index: bytes
    value: SyncAction.Value
    padding: bytes
    version: int
    def __init__(self, index: _Optional[bytes] = ..., value: _Optional[_Union[SyncAction.Value, _Mapping[str, object]]] = ..., padding: _Optional[bytes] = ..., version: _Optional[int] = ...) -> None: ...
