#!/usr/bin/env bash
# Makes a certificate authority for a cluster, and a certificate for each of its parts:
#   make-certificates.sh FOLDER NAME...
# A name that is there keeps its certificate. Whoever has one of these keys may run code on workers.
set -euo pipefail
folder="$1"
shift
days=825
umask 077
mkdir -p "$folder"

if [ ! -e "$folder/ca.key" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days "$days" \
        -keyout "$folder/ca.key" -out "$folder/ca.pem" -subj "/CN=openeo-nc cluster" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
    chmod 0444 "$folder/ca.pem"
fi

for name in "$@"; do
    own="$folder/$name"
    [ -e "$own/certificate.pem" ] && continue
    mkdir -p "$own"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc \
        -keyout "$own/key.pem" -out "$own/request.pem" -subj "/CN=$name"
    openssl x509 -req -in "$own/request.pem" -days "$days" -out "$own/certificate.pem" \
        -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
        -extfile <(printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$name")
    rm "$own/request.pem"
    cp "$folder/ca.pem" "$own/ca.pem"
    # containers read them as a user of their own; the folder above is closed to everybody else here
    chmod 0755 "$own"
    chmod 0444 "$own"/*
done
echo "certificates of $* are in $folder"
