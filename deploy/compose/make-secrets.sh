#!/bin/sh
# Makes the folder `secrets` beside this file, once: random secrets, the two database URLs, and a certificate signed by itself, to be
# replaced by a real one (secrets/tls.pem: the chain, then the private key). What is there already is left alone.
#
# Compose mounts each file as it is, so the files are readable by the containers' users; the folder is not, by others on this machine.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
cd secrets

keep() { # NAME: standard input becomes the file, unless there is one
  if [ -e "$1" ]; then cat > /dev/null; else cat > "$1.draft" && chmod 0444 "$1.draft" && mv "$1.draft" "$1"; fi
}

for name in admin-key token-secret key-encryption-key postgres-password database-owner-password database-password; do
  openssl rand -hex 32 | keep "$name"
done
printf 'postgres://evc_owner:%s@postgres:5432/evc\n' "$(cat database-owner-password)" | keep database-owner-url
printf 'postgres://evc:%s@postgres:5432/evc\n' "$(cat database-password)" | keep database-url
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout - 2> /dev/null | keep tls.pem
