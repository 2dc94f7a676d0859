#!/usr/bin/env bash
# Writes the secrets of compose.yaml into secrets/ beside it, or into a folder that is named, each
# once: what is there stays.
set -euo pipefail
folder="${1:-$(dirname "${BASH_SOURCE[0]}")/secrets}"
umask 077
mkdir -p "$folder"

random() { od -An -tx1 -N "${1:-32}" /dev/urandom | tr -d ' \n'; }
# Of services of users that are not ours the files must be readable for all in the container; the
# folder above is closed to everybody else on this machine.
write() {
    local path="$folder/$1"
    [ -e "$path" ] && return
    printf '%s' "$2" >"$path"
    chmod 0444 "$path"
}

write postgres_password "$(random)"
write openeo_nc_database \
    "postgresql+pg8000://openeo_nc:$(cat "$folder/postgres_password")@postgres:5432/openeo_nc"
write openeo_nc_secret "$(random)"
write openeo_nc_metrics_token "$(random)"
write stac_password "$(random)"
write grafana_password "$(random 12)"
write storage_key "$(random 10)"
write storage_secret "$(random)"
key="$(cat "$folder/storage_key")"
secret="$(cat "$folder/storage_secret")"
write storage_identities "{\"identities\": [{\"name\": \"openeo-nc\", \"credentials\": [{\"accessKey\": \"$key\", \"secretKey\": \"$secret\"}], \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\"]}]}"
write storage.env "AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
AWS_REGION=us-east-1
AWS_ENDPOINT_URL=http://storage:8333
"
echo "secrets are in $folder"
