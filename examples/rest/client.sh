#!/bin/sh
# What a service can be asked, by curl:
#
#     client.sh create 962302
#     client.sh qr 962302
#     client.sh send 962302 79001234567 'Hello from WhatsApp!'
#     client.sh list | status 962302 | explain 962302 | metrics | health
#     client.sh disconnect 962302 | restart 962302 | logout 962302 | delete 962302
#
# WHATSAPP_URL says where the service is (http://localhost:8000 by default), WHATSAPP_API_KEY has its key.
set -eu

service=${WHATSAPP_URL:-http://localhost:8000}
api=$service/api/whatsapp

ask() { # the key goes in by a file, since every user of this host can read a command line
    printf 'header = "X-API-Key: %s"\n' "${WHATSAPP_API_KEY:-}" | curl --silent --show-error --config - "$@"
    echo
}

json() { # a text as a JSON string
    printf '"%s"' "$(printf '%s\n' "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | awk '
        NR > 1 { printf "\\n" }
        { for (code = 1; code < 32; code++) gsub(sprintf("%c", code), sprintf("\\u%04x", code)); printf "%s", $0 }')"
}

case $1 in
create) ask "$api/sessions" -H 'Content-Type: application/json' -d "{\"companyId\": \"$2\"}" ;;
qr) ask "$api/sessions/$2/qr" -H 'Accept: text/plain' ;;
send) ask "$api/sessions/$2/messages" -H 'Content-Type: application/json' -d "{\"to\": \"$3\", \"message\": $(json "$4")}" ;;
list) ask "$api/sessions" ;;
status) ask "$api/sessions/$2" ;;
explain) ask "$api/sessions/$2/explain" ;;
disconnect | restart | logout) ask -X POST "$api/sessions/$2/$1" ;;
delete) ask -X DELETE "$api/sessions/$2" ;;
metrics) ask "$api/metrics" ;;
health) ask "$service/health" ;;
*) echo "there is no call $1" >&2; exit 2 ;;
esac
