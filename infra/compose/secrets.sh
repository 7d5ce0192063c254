#!/usr/bin/env bash
# Draws every secret of docker-compose.yml that is not there yet, mode 0600, for the account that the containers run as. What is there stays:
# another pseudonym key would make two of every patient. Needs nothing but bash and coreutils.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077
folder=${1:-infra/compose/secrets}
mkdir -p "$folder"
random() { head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }
put() { # NAME VALUE: whole or not at all
    [ -e "$folder/$1" ] && return
    printf '%s\n' "$2" >"$folder/.$1.new"
    sync "$folder/.$1.new"
    ln "$folder/.$1.new" "$folder/$1"
    rm "$folder/.$1.new"
    echo "drawn: $1"
}
put pseudonym_key "$(random 32)"
for role in postgres estuaire analyst airflow; do put "postgres_$role" "$(random 24)"; done
for name in airflow_admin airflow_viewer prometheus_password grafana_admin; do put "$name" "$(random 12)"; done
for name in airflow_jwt airflow_api spark_auth redis alert_webhook_key metrics_token; do put "$name" "$(random 32)"; done
put airflow_fernet "$(head -c 32 /dev/urandom | base64 -w 0 | tr '+/' '-_')"
put s3_access_key "$(random 10)"
put s3_secret_key "$(random 20)"
line() { printf '*:*:*:%s:%s\n' "$1" "$(cat "$folder/postgres_$1")"; }
{ line estuaire; line analyst; line airflow; } >"$folder/pgpass" # libpq's form; hexadecimal passwords need no escape
line estuaire >"$folder/pgpass_worker"
chmod 700 "$folder"
chmod 600 "$folder"/*
if [ "$(id -u)" = 0 ]; then # the images' account; the files are then no other's to read
    chown -R "${ESTUAIRE_UID:-10001}:${ESTUAIRE_UID:-10001}" "$folder"
elif ! grep -qs '^ESTUAIRE_UID=' .env; then
    echo "ESTUAIRE_UID=$(id -u)" >>.env
    echo "the containers will run as your account ($(id -u)): ESTUAIRE_UID in .env"
fi
echo "The secrets are in $folder. Keep pseudonym_key in a backup: without it every patient who is delivered again becomes another one."
