#!/usr/bin/env bash
# Runs shellcheck over every shell script of the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."

mapfile -t scripts < <(find scripts .ci tests docker -type f -not -path "*/node_modules/*" ! -name '*.py' \
  -exec grep -lE '^#!.*\b(bash|sh)$' {} + 2>/dev/null | sort)
((${#scripts[@]} > 5)) || { echo "shell: found only ${#scripts[@]} scripts" >&2; exit 1; }
shellcheck --severity=warning "${scripts[@]}"
for script in "${scripts[@]}"; do
  [[ -x $script ]] || { echo "shell: $script is not executable" >&2; exit 1; }
  bash -n "$script"
done
echo "shell: ${#scripts[@]} scripts"
