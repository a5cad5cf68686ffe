#!/usr/bin/env bash
# scripts/format must not call it good when it has looked at nothing.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/scripts"
cp "$root/scripts/format" "$folder/scripts/"

if GIT_CEILING_DIRECTORIES=$folder "$folder/scripts/format" --check 2>/dev/null; then
  echo "format: succeeds where git fails" >&2
  exit 1
fi
git -C "$folder" init -q
if "$folder/scripts/format" --check 2>/dev/null; then
  echo "format: succeeds without any source" >&2
  exit 1
fi
